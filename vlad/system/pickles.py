"""What a pickle asks for, found without executing it; refused if that is too much for its size.

A few bytes can take any time or memory: tuples inside tuples, which a dictionary visits part by
part for each key, a value that is copied again and again, tensors of any size.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from pickle import UnpicklingError
from typing import BinaryIO

# that of SOWA, the longest of the released layouts, has 46,626 operations and 223,421 bytes
MOST, LONGEST = 200_000, 2**24
FREE, PER_BYTE = 10_000_000, 16  # parts visited; those have 2 to 4 for each byte
_FILL = ("APPEND", "APPENDS", "SETITEM", "SETITEMS")


class Refused(ValueError):
    """Its text says what is wrong with a file: "it asks for ..."."""


class _Value:
    """Stands for a value.

    Attributes:
        weight: number of parts visited by whoever visits all of it.
        said: its text, number or name.
        parts: of a tuple.
        used: whether it is part of another one.
    """

    __slots__ = ("parts", "said", "used", "weight")

    def __init__(self, weight: int, said: object = None, parts: tuple[_Value, ...] = ()):
        self.weight, self.said, self.parts, self.used = weight, said, parts, False


def names_in(stream: BinaryIO, size: int, allowed: Callable[[str], object]) -> set[str]:
    """The classes and functions that the next pickle of a stream asks for, as "module.name".

    Args:
        size: bytes of the file, which bound the tensors in it.
        allowed: tells of a name whether it may be asked for.

    Raises:
        Refused: it asks for something else, or for too much time or memory.
        UnpicklingError: it is no pickle.
    """
    simulated = _Simulation(stream.tell(), size, allowed)
    try:
        for count, (operation, argument, place) in enumerate(pickletools.genops(stream)):
            if count == MOST:
                raise Refused("it is far longer than a description of tensors")
            simulated.step(operation, argument, place or 0)
    except Refused:
        raise
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise UnpicklingError(str(error)) from error
    return simulated.names


class _Simulation:
    """The stack and memo of an unpickler, with a _Value for each value; None is a mark.

    An operation that torch does not read ends its reading, so none after it matters.
    """

    def __init__(self, start: int, size: int, allowed: Callable[[str], object]):
        self.start, self.size, self.allowed = start, size, allowed
        self.stack: list[_Value | None] = []
        self.memo: dict[object, _Value | None] = {}
        self.names: set[str] = set()
        self.lengths: dict[str, int] = {}  # of the storages, by their keys
        self.announced = self.visited = 0

    def step(self, operation: pickletools.OpcodeInfo, argument: object, place: int) -> None:
        name = operation.name
        if place - self.start > LONGEST:
            raise Refused("it is far longer than a description of tensors")
        if name.endswith("GET"):
            self.stack.append(self.memo[argument])
        elif name.endswith("PUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MARK":
            self.stack.append(None)
        elif name != "PROTO":
            taken = self._take(operation.stack_before)
            changes = name in _FILL or name == "BUILD"
            weight = sum(value.weight for value in taken[changes:])
            self.visited += weight
            if self.visited > FREE + PER_BYTE * (place - self.start):
                raise Refused("its values contain each other too often")
            if changes:
                self._change(taken[0], weight, name)
            else:
                self.stack.append(self._make(name, taken, 1 + weight, argument))
            for value in taken[changes:]:
                value.used = True

    def _take(self, wanted: list[pickletools.StackObject]) -> list[_Value]:
        """What an operation takes from the stack, the deepest first."""
        taken: list[_Value] = []
        count = len(wanted)
        if pickletools.markobject in wanted:
            count = wanted.index(pickletools.markobject)
            while (value := self.stack.pop()) is not None:
                taken.append(value)
        for _ in range(count):
            value = self.stack.pop()
            if value is None:
                raise UnpicklingError("it takes a mark for a value")
            taken.append(value)
        return taken[::-1]

    def _change(self, value: _Value, weight: int, name: str) -> None:
        # else what holds it would be heavier than its weight
        if value.used and name in _FILL:
            raise Refused("its values contain each other")
        value.weight += weight
        self.stack.append(value)

    def _make(self, name: str, taken: list[_Value], weight: int, argument: object) -> _Value:
        if name == "GLOBAL":
            # torch.save spells this module as Python 2 did
            asked = str(argument).replace("__builtin__ ", "builtins ").replace(" ", ".", 1)
            if not self.allowed(asked):
                raise Refused(f"it asks for {asked}, which is not a plain tensor")
            self.names.add(asked)
            return _Value(weight, asked)
        if name in ("REDUCE", "NEWOBJ"):
            _check_call(*taken)
        elif name == "BINPERSID":
            self._add_storage(*taken[0].parts)
        elif isinstance(argument, str | bytes):
            weight += len(argument)
        return _Value(weight, argument, tuple(taken) if name.startswith("TUPLE") else ())

    def _add_storage(self, _: _Value, kind: _Value, key: _Value, *rest: _Value) -> None:
        """Count a storage by the number of its entries; there is at least a byte for each."""
        length = rest[1].said
        if not isinstance(key.said, str) or not isinstance(length, int):
            raise UnpicklingError("it has a storage without key or length")
        before = self.lengths.get(key.said, 0)
        self.lengths[key.said] = max(length, before)
        self.announced += self.lengths[key.said] - before
        if self.announced > self.size:
            raise Refused("it announces more numbers than it holds")


def _check_call(function: _Value, arguments: _Value) -> None:
    """Check calls whose arguments decide what they do."""
    if re.fullmatch(r"torch\.(\w+\.)?\w*(Tensor|Storage)", str(function.said)):
        raise Refused(f"it asks for a call of {function.said}")
    rest = [part.said for part in arguments.parts[1:]]
    if function.said == "_codecs.encode" and rest != ["latin1"]:
        raise Refused("it asks for an encoding that no tensor needs")
    if function.said == "torch._tensor._rebuild_from_type_v2":
        first = str(arguments.parts[0].said)
        if not first.startswith("torch._utils._rebuild_"):
            raise Refused(f"it asks for a call of {first}")
