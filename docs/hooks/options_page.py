"""The page of options, made from docstrings and defaults when the site is built, so that it cannot be out of date."""

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from docstring_parser import DocstringStyle, parse
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from anomalib_slsg import Slsg
from anomalib_slsg.utils.options import Options

PAGE = "options.md"
INTRODUCTION = """\
# Options

Each option is an argument of `anomalib train`, a key of a YAML file and an argument of `Slsg` in Python:

    anomalib train --model anomalib_slsg.Slsg --model.network.num_neighbors 11 ...

```yaml
model:
  class_path: anomalib_slsg.Slsg
  init_args:
    network: {num_neighbors: 11}
```

```python
from anomalib_slsg import Slsg
from anomalib_slsg.networks.options import NetworkOptions

model = Slsg(network=NetworkOptions(num_neighbors=11))
```

`slsg train` takes the same names, but for `image_size`, which is `--image_size` there, and anomalib's four objects
(`pre_processor`, `post_processor`, `evaluator`, `visualizer`), which it chooses itself. Its own `--minutes`,
`--schedule` and `--false_alarm_rate` set `pretraining.epochs`, `optimizer.iterations` and
`calibration.false_alarm_rate`, unless these are given.

`[0, 1)` are the numbers from 0 to 1 without 1.
"""


class Option(NamedTuple):
    """One option: its name on the command line, its default, what it may be, and what it means."""

    name: str
    default: Any
    allowed: str
    meaning: str


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site."""
    files.append(File.generated(config, PAGE, content=page()))
    return files


def groups() -> dict[str, Options]:
    """Find the groups of options of ``Slsg``.

    Returns:
        Each with its defaults, by name.
    """
    parameters = inspect.signature(Slsg).parameters
    return {name: each.default for name, each in parameters.items() if isinstance(each.default, Options)}


def options_of(name: str) -> Iterator[Option]:
    """List the options of a group, or those of ``Slsg`` that are in none.

    Args:
        name: The group's name; empty for ``Slsg`` itself.

    Yields:
        The options, in the order of the code.
    """
    if not name:
        meanings = _meanings(Slsg)
        for parameter in inspect.signature(Slsg).parameters.values():
            if not isinstance(parameter.default, Options):
                yield Option(f"--model.{parameter.name}", parameter.default, "", meanings.get(parameter.name, ""))
        return
    group = groups()[name]
    meanings = _meanings(type(group))
    for field in dataclasses.fields(group):
        allowed = field.metadata.get("allowed", "")
        yield Option(f"--model.{name}.{field.name}", getattr(group, field.name), allowed, meanings.get(field.name, ""))


def page() -> str:
    """Write the page.

    Returns:
        Its Markdown.
    """
    about, parts = _meanings(Slsg), [INTRODUCTION, "## model\n", *map(_entry, options_of(""))]
    for name, group in groups().items():
        parts += [f"## {name}\n", _markdown(about[name]), ""]
        summary = parse(inspect.getdoc(type(group)) or "", DocstringStyle.GOOGLE).long_description
        parts += [_markdown(summary), ""] if summary else []
        parts += map(_entry, options_of(name))
    return "\n".join(parts)


def _meanings(kind: type) -> dict[str, str]:
    parsed = parse(inspect.getdoc(kind) or "", DocstringStyle.GOOGLE)
    return {each.arg_name: each.description or "" for each in parsed.params}


def _entry(option: Option) -> str:
    default = option.default if isinstance(option.default, str) else json.dumps(option.default)
    allowed = f", allowed: `{option.allowed}`" if option.allowed else ""
    meaning = " ".join(_markdown(option.meaning).split())
    return f"`{option.name}`\n:   {meaning}\n    *Default: `{default}`{allowed}.*\n"


def _markdown(text: str) -> str:
    """Turn references of docstrings, such as :class:`~module.Name`, into code."""
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")
