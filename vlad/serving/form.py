"""What a request names and sends: refused where the service would leave it out in silence."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import get_type_hints

from fastapi import Request, params
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from vlad.system.text import instead, nearest, shown


async def check_names(request: Request) -> None:
    """Check the names of the query and of the fields of the form.

    Raises:
        HTTPException: 422, an unknown name, one given twice, or a file without a file name.
    """
    endpoint = getattr(request.scope["endpoint"], "__func__", request.scope["endpoint"])
    fields, queries = _names(endpoint, params.Form), _names(endpoint, params.Query)
    for name in request.query_params:
        if name in queries:
            if len(request.query_params.getlist(name)) > 1:
                raise HTTPException(422, f"The query gives {name} twice; send it once.")
            continue
        if queries:
            raise HTTPException(
                422, f"The query has no parameter {shown(name)}{instead(name, queries)}"
            )
        if near := nearest(name, fields):
            raise HTTPException(
                422, f"{shown(name)} is a query parameter; send {near} as a field of the form."
            )
        raise HTTPException(422, f"The query parameter {shown(name)} is unknown; leave it out.")
    if not fields:
        return
    found = set()
    for number, (name, value) in enumerate((await request.form()).multi_items(), 1):
        if name not in fields:
            raise HTTPException(422, f"The form has no field {shown(name)}{instead(name, fields)}")
        if fields[name] and isinstance(value, str):
            raise HTTPException(
                422,
                f"Part {number} of the form, {name}, has no file name, so it is text; send it as a "
                f"file, as in curl -F {name}=@a.jpg.",
            )
        if not fields[name] and name in found:
            raise HTTPException(422, f"The form gives {name} twice; send it once.")
        found.add(name)


def unreadable(error: HTTPException) -> str:
    """The sentence about a form that could not be parsed, with the number of its part."""
    cause = error.__context__
    frames = traceback.walk_tb(cause.__traceback__ if cause else None)
    parsers = (frame.f_locals.get("self") for frame, _ in frames)
    # only the parser itself knows how far it came
    parts = [len(x.items) + 1 for x in parsers if isinstance(x, MultiPartParser)]
    where = f" at its part {parts[-1]}" if parts else ""
    why = error.detail.rstrip(".").replace(". ", ": ")
    return (
        f"The form cannot be read{where} ({why}); give each part a name, and each file a file name "
        "too, as in curl -F images=@a.jpg."
    )


@lru_cache
def _names(endpoint: Callable, kind: type[params.Form | params.Query]) -> Mapping[str, bool]:
    """Name of each parameter of this kind of an endpoint -> whether it takes files."""
    return {
        mark.alias or name: isinstance(mark, params.File)
        for name, hint in get_type_hints(endpoint, include_extras=True).items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, kind)
    }
