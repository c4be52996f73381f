"""HTML from templates: escaped, with scripts and styles inside, and a policy that lets nothing else run or load."""

import base64
import hashlib
import json
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from anomalib_zsad.calibration.decision_rule import decision_in_words
from anomalib_zsad.outputs.terminal import counted
from anomalib_zsad.pages.script_bundle import bundle

_STATIC = Path(__file__).with_name("static")
_STYLES = ("base.css", "viewer.css", "lists.css", "gallery.css", "run.css")
NOTHING = "\N{EN DASH}"
# Characters that could end a script element or be taken for markup inside it; JSON knows them by number as well.
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(template: str, scripts: tuple[str, ...], *, frames: bool = False, library: str = "", **context: Any) -> str:
    """A whole page.

    Args:
        template: Name of a file in `templates/`.
        scripts: Names of modules in `scripts/`, in the order in which they run; what they import comes before them.
        frames: Whether the page may show other pages of its folder inside itself.
        library: A script that stands before them.
        context: What the template shows. Every value is escaped where it is shown.
    """
    script = f"{library}\n;\n{bundle(scripts)}" if library else bundle(scripts)
    style = _style()
    page = _environment().get_template(template)
    policy = _policy(script, style) + ("; frame-src 'self' file:" if frames else "")
    return page.render(script=Markup(script), style=Markup(style), policy=policy, **context)  # noqa: S704


def safe_json(value: Any) -> Markup:
    """A value as JSON that may stand inside a script element.

    Raises:
        ValueError: If it holds NaN or infinity, which JSON does not know.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    return Markup(text)  # noqa: S704


def data_address(content: bytes, kind: str) -> str:
    """A picture as a `data:` address.

    Args:
        content: The file.
        kind: `jpeg` or `png`.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def number(value: float | None, digits: int = 3) -> str:
    """A number for people: so many significant digits, a dash for nothing, no exponent for everyday sizes."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 10**7:
        decimals = max(0, digits - 1 - int(f"{abs(value):e}".partition("e")[2]))
        return f"{value:,.{decimals}f}"
    return f"{value:.{digits - 1}e}"


def score(value: float | None) -> str:
    """A score, deviation or probability in [0, 1]: three decimals, four significant digits where it is small."""
    if value is None:
        return NOTHING
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"


def position(value: tuple[float, float, float] | None) -> str:
    """A world position in mm."""
    return NOTHING if value is None else ", ".join(f"{round(coordinate, 1) + 0.0:.1f}" for coordinate in value)


def place(value: tuple[float, float, float]) -> str:
    """A world position (RAS, mm), each coordinate by the side it lies on: `R 12.3 A 4.0 S 5.5`."""
    sides = ("RL", "AP", "SI")
    return " ".join(
        f"{sides[axis][int(coordinate < 0)]} {abs(round(coordinate, 1)):.1f}" for axis, coordinate in enumerate(value)
    )


def millilitres(value: float) -> str:
    """A volume, given in mm3, in ml."""
    return f"{number(value / 1000, 2 if value < 10_000 else 3)} ml"


def plain(value: Any) -> str:
    """A value of a report: yes and no, numbers to six digits, text as it is."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Rounded first: what is left of a coordinate of zero is no number to show.
    return f"{round(value, 9) + 0.0:.6g}" if isinstance(value, float) else str(value)


def named(value: Any) -> Any:
    """A record as a mapping of its fields; anything else as it is."""
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("anomalib_zsad.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "safe_json": safe_json,
        "number": number,
        "score": score,
        "position": position,
        "place": place,
        "millilitres": millilitres,
        "plain": plain,
        "named": named,
        "counted": counted,
    }
    environment.filters["decision"] = decision_in_words
    environment.filters["label"] = lambda name: str(name).replace("_", " ")
    return environment


@cache
def _style() -> str:
    return "\n".join((_STATIC / name).read_text(encoding="utf-8").strip() for name in _STYLES) + "\n"


def _policy(script: str, style: str) -> str:
    """Content-Security-Policy: this script and this style, pictures inside the file, and nothing else."""
    sources = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (script, style)
    ]
    return (
        f"default-src 'none'; img-src data:; script-src {sources[0]}; style-src {sources[1]}; "
        "base-uri 'none'; form-action 'none'"
    )
