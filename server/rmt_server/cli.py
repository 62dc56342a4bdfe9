"""The command `rmt-server`: serve, doctor, openapi, keys.

What a command needs is imported when it runs: PyTorch alone takes seconds.
"""

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from rmt_model.errors import RmtModelError
from rmt_server.auth import new_key
from rmt_server.errors import RmtServerError
from rmt_server.logs import configure
from rmt_server.settings import Settings

__all__ = ["main"]

_NEW_KEY = """\
The key, which is shown this once:

    {key}

Its line for the file that RMT_API_KEYS_FILE names:

    {line}
"""
_FLAGS = ("host", "port", "redis_url", "data_dir", "checkpoint", "device")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that a user can mend are one sentence, exit code 1."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ValidationError as error:
        for one in error.errors():
            name = "RMT_" + "_".join(map(str, one["loc"])).upper() if one["loc"] else "settings"
            sys.stderr.write(f"rmt-server: {name}: {one['msg']}\n")
    except (RmtServerError, RmtModelError) as error:
        sys.stderr.write(f"rmt-server: {error}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rmt-server", description="Serve a Recurrent Memory Transformer over HTTP.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="start the server")
    _add_settings(serve)
    serve.set_defaults(run=_serve)
    doctor = commands.add_parser("doctor", help="check settings, device, checkpoint and Redis, and say what to mend")
    _add_settings(doctor)
    doctor.add_argument("--json", action="store_true", help="a JSON list instead of lines")
    doctor.set_defaults(run=_doctor)
    contract = commands.add_parser("openapi", help="print the wire contract")
    contract.set_defaults(run=_openapi)
    keys = commands.add_parser("keys", help="API keys").add_subparsers(required=True, metavar="COMMAND")
    new = keys.add_parser("new", help="make a key; nothing is stored")
    new.add_argument("--tenant", required=True, help="whose key it is")
    new.add_argument("--scopes", default="read,write", help="read, write, admin, separated by commas [%(default)s]")
    new.set_defaults(run=_new_key)
    return parser


def _add_settings(command: argparse.ArgumentParser) -> None:
    """The flags that stand for settings."""
    for name in _FLAGS:
        field = Settings.model_fields[name]
        command.add_argument(
            f"--{name.replace('_', '-')}", help=f"{field.description} [RMT_{name.upper()}, {field.default}]"
        )


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags."""
    return {name: getattr(options, name) for name in _FLAGS if getattr(options, name) is not None}


def _new_key(options: argparse.Namespace) -> int:
    key, line = new_key(options.tenant, options.scopes)
    sys.stdout.write(_NEW_KEY.format(key=key, line=line))
    return 0


def _openapi(options: argparse.Namespace) -> int:
    del options
    from rmt_server.app import openapi

    sys.stdout.write(json.dumps(openapi(), indent=2, sort_keys=True) + "\n")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from rmt_server.doctor.examination import examine

    findings = []
    for finding in examine(_given(options), os.environ):
        findings.append(finding)
        if not options.json:
            sys.stdout.write(f"{finding.level:<8} {finding}\n")
            sys.stdout.flush()
    if options.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    return int(any(finding.level == "problem" for finding in findings))


def _serve(options: argparse.Namespace) -> int:
    settings = Settings(**_given(options))
    configure(settings.log_format, settings.log_level)
    gc.disable()  # it would look for garbage among modules that stay, a fifth of their time; `serve` enables it again
    from rmt_server.serve import serve

    serve(settings)
    return 0
