"""The one thing supervisor 4.2 asks of setuptools' pkg_resources: an object by its dotted name.

The real module costs about 0.1 s at each start (it walks every installed distribution) and
megabytes in the image. Later versions do without it (Supervisor/supervisor#1578).
"""

import importlib


class EntryPoint:
    """`x=package.module:attribute`, resolved by importing it."""

    def __init__(self, module: str, attribute: str):
        self.module = module
        self.attribute = attribute

    @classmethod
    def parse(cls, text: str) -> "EntryPoint":
        module, _, attribute = text.partition("=")[2].strip().partition(":")
        return cls(module, attribute)

    def resolve(self) -> object:
        return getattr(importlib.import_module(self.module), self.attribute)
