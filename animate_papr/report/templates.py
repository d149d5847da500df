"""Filling in the pages."""

import json


def filled(template: str, **values: str) -> str:
    """The template with {{name}} replaced; what is put in is not searched again."""
    pieces = template.split("{{")
    out = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        out += [values[name], rest]
    return "".join(out)


def json_script(name: str, content: object) -> str:
    """A script element that holds data. Raises ValueError on numbers that are not finite."""
    # "</" would end the script element, "<!--" begin a comment in it.
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'
