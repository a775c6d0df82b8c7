"""Token compression strategies for video language models: each a small dataclass that plans and applies."""

if __name__ == "compression":  # started in a checkout on Python 3.14+, whose stdlib owns this name: stand aside
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)
else:
    from codecmeta.compression.adapter import FAMILIES, Adapter, adapter_for
    from codecmeta.compression.base import Context, Layout, Plan, Reduced, Strategy
    from codecmeta.compression.dycoke import Dycoke
    from codecmeta.compression.evs import Evs
    from codecmeta.compression.fastv import FastV
    from codecmeta.compression.holitom import Holitom
    from codecmeta.compression.methods import METHODS, make
    from codecmeta.compression.metok import Metok
    from codecmeta.compression.metom import Metom
    from codecmeta.compression.plain import Plain
    from codecmeta.compression.random_keep import RandomKeep
    from codecmeta.compression.session import Session, apply
    from codecmeta.compression.sttm import Sttm
    from codecmeta.compression.tome import Tome
    from codecmeta.compression.uniform import Uniform

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
        "Session",
        "Strategy",
        "Sttm",
        "Tome",
        "Uniform",
        "adapter_for",
        "apply",
        "make",
    ]
