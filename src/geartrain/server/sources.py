"""Where settings come from: flags before environment before file before default.

Owns the reading of the environment and of both kinds of file, and the making of a `Config` from all sources.
Knows nothing about what a setting does.
"""

import logging
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from geartrain.errors import ConfigError
from geartrain.server.arguments import Given, Note, nearest, parse_arguments, take
from geartrain.server.config import LEVELS, Config, attempts
from geartrain.server.foreign import foreign_options, option_named
from geartrain.server.options import BY_LONG, CONVERTERS, OPTIONS, Option

__all__ = ["BARE_SWITCH", "DEFAULT_FILE", "Settings", "gather"]

DEFAULT_FILE: Final = "/etc/gearmand.conf"
BARE_SWITCH: Final = "GEARTRAIN_BARE_ENV"
"""Set to 1, names without a prefix count too (``VERBOSE``, ``MYSQL_HOST``), as in gearmand's Docker images."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for.

    Attributes:
        config: the settings.
        given: what made them, by `Option.key`.
        notes: what the log should say about them.
        action: ``help``, ``version``, ``check``, ``print-config``, or empty to serve.
    """

    config: Config
    given: Mapping[str, Given]
    notes: tuple[Note, ...] = ()
    action: str = ""

    def chosen(self, key: str) -> bool:
        """Whether the user set this, rather than we."""
        return key in self.given and self.given[key].origin != "default"


def gather(
    flags: Mapping[str, Given],
    environ: Mapping[str, str],
    *,
    defaults: Mapping[str, str] = MappingProxyType({}),
    default_file: str = DEFAULT_FILE,
) -> Settings:
    """Puts all sources together.

    Args:
        flags: from `parse_arguments`.
        environ: the environment.
        defaults: long names to texts, where the command's defaults are not those of `Config`.
        default_file: read when it is there and no other file is named. Empty: none.

    Raises:
        ConfigError: a setting cannot be used. The text says which, where it stands and what would do.
    """
    notes: list[Note] = []
    if "check" not in flags:
        for action in ("help", "version"):
            # They answer even where the settings are wrong; gearmand does --check-args before both.
            if action in flags:
                return Settings(Config(), flags, action=action)
    given = {
        option.key: Given(option, (text,), "default")
        for option, text in ((BY_LONG[long], text) for long, text in defaults.items())
    }
    from_environment = _read_environment(environ, notes)
    named = flags.get("config_file") or from_environment.get("config_file")
    if named:
        given |= _read_file(named.texts[0], notes)
    elif default_file and Path(default_file).exists():
        given |= _read_file(default_file, notes)
    given |= from_environment
    given |= flags
    _drop_what_has_no_use(given, notes)
    config = _build(given, notes)
    action = next((action for action in ("check", "print-config") if action in given), "")
    return Settings(config, given, tuple(notes), action)


# The environment -------------------------------------------------------------------------------------------

_SERVICE_ADDRESS: Final = re.compile(r"[a-z]+://")


def _read_environment(environ: Mapping[str, str], notes: list[Note]) -> dict[str, Given]:
    bare = environ.get(BARE_SWITCH, "") not in ("", "0")
    found: dict[str, Given] = {}
    for option in (*OPTIONS, *_foreign(environ)):
        names = (*option.variables, *((option.bare_variable,) if bare and option.bare_variable else ()))
        for name in names:
            text = environ.get(name, "")
            if not text:
                continue
            if option.kind == "port" and _SERVICE_ADDRESS.match(text):
                # Kubernetes and Docker links write such addresses for a service that is named gearmand.
                notes.append(Note(logging.INFO, f"{name}={text} is the address of a service, no port: ignored"))
                continue
            before = found.get(option.key)
            if before is not None and before.option is not option:
                raise ConfigError(f"{before.origin} and ${name} are both set: leave one out.")
            found[option.key] = Given(option, (text,), f"${name}")
            break
    return found


def _foreign(environ: Mapping[str, str]) -> Iterable[Option]:
    """Other packages' options, where the environment has a name that could be one of theirs."""
    ours = {name for option in OPTIONS for name in option.variables}
    unknown = any(name.startswith("GEARMAND_") and name not in ours for name in environ)
    return foreign_options().values() if unknown else ()


# Files -----------------------------------------------------------------------------------------------------


def _read_file(path: str, notes: list[Note]) -> dict[str, Given]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Could not open configuration file. {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8.") from error
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    words = " ".join(lines).split()
    # gearmand's file holds plain arguments, so it begins with a dash; no TOML does.
    if path.endswith(".toml") or (words and not words[0].startswith("-")):
        found = _read_toml(path, text)
    else:
        found = parse_arguments(words, origin=path, notes=notes)
        notes.extend(
            Note(logging.WARNING, f"{path}: the quotes in --{item.option.long} are part of its value")
            for item in found.values()
            if item.texts[0][:1] in ("'", '"')
        )
    for given in found.values():
        if given.option.action or given.option.field == "config_file":
            raise ConfigError(f"{path}: {given.option.long} works on the command line alone.")
    return found


def _read_toml(path: str, text: str) -> dict[str, Given]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is neither TOML nor a list of arguments as gearmand has it: {error}") from error
    found: dict[str, Given] = {}
    for name, value in table.items():
        option = option_named(name.replace("_", "-"))
        if option is None:
            raise ConfigError(f"{path}: there is no setting {name!r}{nearest(name)}")
        for text in _texts(path, name, value):
            take(found, option, text, path)
    return found


def _texts(path: str, name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, str | int | float):
        return [str(value)]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise ConfigError(f"{path}: {name} has to be a text, a number, true, false or a list of texts.")


# All together ----------------------------------------------------------------------------------------------


def _drop_what_has_no_use(given: dict[str, Given], notes: list[Note]) -> None:
    """Takes out what the surroundings set, and not the user of this server."""
    variables = [
        key
        for key in ("ssl_ca_file", "ssl_certificate", "ssl_key")
        if key in given and given[key].origin.startswith("$")
    ]
    if variables and not ("ssl" in given and _convert(given["ssl"])):
        # gearmand: these variables are but the defaults of the options.
        names = ", ".join(given.pop(key).origin for key in variables)
        notes.append(Note(logging.INFO, f"without --ssl these are not used: {names}"))
    queue = given.get("queue_type")
    if queue is None or queue.origin != "default":
        for idle in [key for key, item in given.items() if item.option.is_queue_option and item.origin == "default"]:
            del given[idle]


def _build(given: Mapping[str, Given], notes: list[Note]) -> Config:
    fields: dict[str, Any] = {}
    queue_options: dict[str, str] = {}
    for key, item in given.items():
        value = _convert(item)
        if item.option.reads:
            queue_options[key] = _read_secret(item)
        elif item.option.kind == "switch":
            queue_options |= {key: "1"} if value else {}
        elif item.option.is_queue_option:
            queue_options[key] = item.texts[0]
        elif item.option.field:
            fields[key] = value
        if item.option.idle:
            notes.append(Note(logging.INFO, f"{item.option.long} has no meaning here: {item.option.idle}"))
    fields.pop("config_file", None)
    fields["http"] = fields.pop("protocol", "") == "http"
    fields["check_args"] = "check" in given
    compat = fields.get("compat", "2.0")
    retries = fields.pop("job_retries", -1)
    fields["job_retries"] = attempts(retries, compat)
    if retries == 0 and "compat" not in given:
        notes.append(
            Note(
                logging.WARNING,
                "job-retries 0 means one attempt, as in gearmand 2.0, where 1.1 had no limit: "
                "use -1 for no limit, or --compat 1.1",
            )
        )
    if fields.get("round_robin") and compat == "2.0":
        notes.append(Note(logging.INFO, "round-robin is always so; only --compat 1.1 knows another order"))
    config = Config(**fields, queue_options=MappingProxyType(queue_options))
    _note_idle_queue(config, given, notes)
    return config


def _note_idle_queue(config: Config, given: Mapping[str, Given], notes: list[Note]) -> None:
    if config.queue_type != "builtin":
        return
    for item in given.values():
        if item.option.is_queue_option and not item.origin.startswith("$"):
            text = f"{item.option.long} is set, but the queue type is builtin: jobs are kept in memory alone"
            notes.append(Note(logging.WARNING, text))


_COMPLAINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "protocol": "Unknown protocol module : {text}",
        "level": f"Invalid value for --verbose supplied: {{text!r}}. It is one of {', '.join(LEVELS)}.",
    }
)


def _convert(item: Given) -> Any:
    option, texts, origin = item
    try:
        if option.kind == "list":
            return tuple(part for text in texts for part in CONVERTERS["list"](text))  # type: ignore[attr-defined]
        return CONVERTERS[option.kind](texts[0])
    except ValueError as error:
        shown = "..." if option.secret else texts[0]
        text = _COMPLAINTS.get(option.kind, "the argument ({text!r}) for option '--{long}' is invalid")
        where = "" if origin in ("flags", "default") else f"{origin}: "
        raise ConfigError(where + text.format(text=shown, long=option.long)) from error


def _read_secret(item: Given) -> str:
    path = item.texts[0]
    try:
        # Editors and `echo` end a file with a newline; no password does.
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"The password file {path} ({item.option.long}) cannot be read: {error.strerror}.") from error
