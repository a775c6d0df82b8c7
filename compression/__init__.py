"""Token compression strategies for video language models: each a small dataclass that plans and applies."""

if __name__ == "compression":  # started in a checkout on Python 3.14+, whose stdlib owns this name: stand aside
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)
else:
    from importlib import import_module
    from typing import TYPE_CHECKING, Any

    from codecmeta.compression.engine.families import FAMILIES, adapter_for
    from codecmeta.compression.methods.registry import METHODS, ROWS, make
    from codecmeta.compression.plan import Context, Layout, Plan, Reduced
    from codecmeta.compression.strategy import Strategy

    if TYPE_CHECKING:
        from codecmeta.compression.engine.adapter import Adapter
        from codecmeta.compression.engine.contract import ContractError
        from codecmeta.compression.engine.session import Session, apply

    _HOME = {
        "Adapter": "engine.adapter",
        "ContractError": "engine.contract",
        "Session": "engine.session",
        "apply": "engine.session",
        **{row.cls: f"methods.{row.module}" for row in ROWS.values()},
    }

    __all__ = [  # noqa: PLE0604  (the methods' classes come from their rows)
        "FAMILIES",
        "METHODS",
        "Adapter",
        "Context",
        "ContractError",
        "Layout",
        "Plan",
        "Reduced",
        "Session",
        "Strategy",
        "adapter_for",
        "apply",
        "make",
        *(row.cls for row in ROWS.values()),
    ]

    def __getattr__(name: str) -> Any:
        """Import a name, and torch with it, when it is first used."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """The public names, for help(), completion and editors; nothing is imported by looking."""
        return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
