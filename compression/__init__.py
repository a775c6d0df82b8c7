"""Token compression strategies for video language models: each a small dataclass that plans and applies."""

if __name__ == "compression":  # started in a checkout on Python 3.14+, whose stdlib owns this name: stand aside
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)
