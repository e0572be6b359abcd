"""Rules of a URL map that are compiled once for all applications of a process: most of what making one takes."""

from types import MethodType

from werkzeug.routing import Rule

OF_THE_APPLICATION = {"map", "provide_automatic_options"}
"""What a rule has from the application that it belongs to, not from its compilation."""


def rule_class() -> type[Rule]:
    """A class for `Flask.url_rule_class` whose rules share what they compile with equal ones."""
    compiled: dict[tuple[object, ...], Rule] = {}

    class CompiledOnceRule(Rule):
        def compile(self) -> None:
            defaults = tuple((self.defaults or {}).items())
            place = (self.host, self.subdomain, self.map.host_matching, self.strict_slashes, self.merge_slashes)
            key = (self.rule, self.endpoint, frozenset(self.methods or ()), defaults, *place)
            if key not in compiled:
                super().compile()
                compiled[key] = self
                return
            for name, value in vars(compiled[key]).items():
                if name not in OF_THE_APPLICATION:
                    is_of_rule = isinstance(value, MethodType) and value.__self__ is compiled[key]
                    setattr(self, name, MethodType(value.__func__, self) if is_of_rule else value)

    return CompiledOnceRule
