"""What a component is, and a catalog of components with one order and one index."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from scoreprof_nb.components.palette import DEFAULT_COLOURS

WAITING_GROUP = "waiting"


@dataclass(frozen=True)
class Component:
    """One component, or one line of results that no stack shows (``of_stacks`` is False).

    ``colour``: ``#RRGGBB``. ``advice``: what usually helps, for the findings; may be empty. ``waiting``:
    the thread does not run while it is in this component, so no CPU time is attributed to it. ``work``:
    the request makes progress in it (device_wait waits, but for the device's work; idle_poll runs, but
    does no work).
    """

    name: str
    group: str
    meaning: str
    colour: str
    advice: str = ""
    waiting: bool = False
    work: bool = True
    of_stacks: bool = True


@dataclass(frozen=True)
class Catalog:
    """Components in the order in which figures show them. An index is a place in this order.

    ``names``: all names; ``index``: name to index; ``waiting`` and ``work``: bool arrays, shape
    (components,).
    """

    components: tuple[Component, ...]

    @cached_property
    def _by_name(self) -> MappingProxyType[str, Component]:
        return MappingProxyType({component.name: component for component in self.components})

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    @cached_property
    def index(self) -> MappingProxyType[str, int]:
        return MappingProxyType({name: index for index, name in enumerate(self.names)})

    @cached_property
    def waiting(self) -> NDArray[np.bool_]:
        return np.array([component.waiting for component in self.components])

    @cached_property
    def work(self) -> NDArray[np.bool_]:
        return np.array([component.work for component in self.components])

    @cached_property
    def stack_names(self) -> tuple[str, ...]:
        """The names of what a stack can be doing: those that a rule may name."""
        return tuple(component.name for component in self.components if component.of_stacks)

    @cached_property
    def stack_groups(self) -> tuple[str, ...]:
        """The groups that a component may be in."""
        return tuple(dict.fromkeys(c.group for c in self.components if c.of_stacks))

    def __getitem__(self, name: str) -> Component:
        """Raises KeyError for a name that the catalog lacks."""
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def extended(self, added: Iterable[Component]) -> "Catalog":
        """A catalog with more components, each after the last one of its group.

        A component without a colour gets one of ``DEFAULT_COLOURS``. Raises ValueError for a name that
        the catalog has, and for a group that it lacks.
        """
        components = list(self.components)
        for component in added:
            if component.name in {known.name for known in components}:
                raise ValueError(f"component {component.name!r} already exists")
            places = [i for i, known in enumerate(components) if _same_group(known, component)]
            if not places:
                groups = ", ".join(self.stack_groups)
                raise ValueError(f"group {component.group!r} does not exist; the groups are {groups}")
            components.insert(places[-1] + 1, _coloured(component, components))
        return Catalog(tuple(components))

    def covering(self, names: Iterable[str]) -> "Catalog":
        """A catalog that also has these names, new ones in the group ``other``: for results that were
        computed with other rules."""
        unknown = [name for name in dict.fromkeys(names) if name not in self]
        return self.extended(Component(name, "other", "", "") for name in unknown) if unknown else self


def _same_group(known: Component, added: Component) -> bool:
    return known.of_stacks and known.group == added.group


def _coloured(component: Component, others: Sequence[Component]) -> Component:
    if component.colour:
        return component
    used = [other.colour for other in others]
    colour = min(DEFAULT_COLOURS, key=used.count)  # the first of those that are used least
    return replace(component, colour=colour)
