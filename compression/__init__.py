"""Token compression strategies for video language models: each a small dataclass that plans and applies."""

if __name__ == "compression":  # started in a checkout on Python 3.14+, whose stdlib owns this name: stand aside
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)
else:
    from codecmeta.compression.engine.adapter import FAMILIES, Adapter, adapter_for
    from codecmeta.compression.engine.session import Session, apply
    from codecmeta.compression.methods.dycoke import Dycoke
    from codecmeta.compression.methods.evs import Evs
    from codecmeta.compression.methods.fastv import FastV
    from codecmeta.compression.methods.holitom import Holitom
    from codecmeta.compression.methods.metok import Metok
    from codecmeta.compression.methods.metom.metom import Metom
    from codecmeta.compression.methods.plain import Plain
    from codecmeta.compression.methods.random_keep import RandomKeep
    from codecmeta.compression.methods.registry import METHODS, make
    from codecmeta.compression.methods.replenish import Replenish
    from codecmeta.compression.methods.sttm import Sttm
    from codecmeta.compression.methods.tome import Tome
    from codecmeta.compression.methods.uniform import Uniform
    from codecmeta.compression.strategy import Context, Layout, Plan, Reduced, Strategy

    __all__ = [
        "FAMILIES",
        "METHODS",
        "Adapter",
        "Context",
        "Dycoke",
        "Evs",
        "FastV",
        "Holitom",
        "Layout",
        "Metok",
        "Metom",
        "Plain",
        "Plan",
        "RandomKeep",
        "Reduced",
        "Replenish",
        "Session",
        "Strategy",
        "Sttm",
        "Tome",
        "Uniform",
        "adapter_for",
        "apply",
        "make",
    ]
