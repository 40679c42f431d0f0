"""`fedinterest-server`: a coordinator, and the partners it lets in.

Only what parses arguments is imported at the top: `--help` must be instant.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from shared.guard import guarded

# Plain help: typer with rich loads slowly, and escapes the brackets of "[required]" even when
# it prints without it.
typer.core.HAS_RICH = False

app = typer.Typer(
    name="fedinterest-server",
    help="Coordinate a federation: let partners in, train with them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EXAMPLES = """\b
Examples:
  fedinterest-server init coordinator --address fed.example.org:9443
  fedinterest-server enrol shop request.json --dir coordinator
  fedinterest-server up coordinator
"""

Folder = Annotated[
    Path, typer.Argument(help="The coordinator's folder [default: .].", show_default=False)
]
Dir = Annotated[
    Path,
    typer.Option("--dir", help="The coordinator's folder [default: .].", show_default=False),
]
Name = Annotated[str, typer.Argument(help="The partner's name.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, quietly.")]
HERE = Path()


@app.command("init", epilog=EXAMPLES)
def init_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where partners will connect to [default: localhost:9443, for a try].",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the federation [default: the folder's name].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a coordinator's folder: authority, certificates, keys, gateway, server.toml."""

    def work() -> None:
        from server.membership.enrolment import init
        from server.settings import DEFAULT_PORT
        from shared.certificates import utc_now

        made = init(
            folder,
            name=folder.resolve().name if name is None else name,
            address=address or f"localhost:{DEFAULT_PORT}",
            now=utc_now(),
        )
        coordinator = made.settings.coordinator
        _say(
            {
                "folder": str(folder),
                "name": coordinator.name,
                "address": coordinator.address,
                "listen": coordinator.listen,
            },
            f"Made {folder}: partners will connect to {coordinator.address}.\n"
            f"Keep a copy of {folder / 'authority'}: partners trust no other authority.\n"
            f"Next: look through {folder / 'server.toml'}, then enrol partners:\n"
            f"  fedinterest-server enrol NAME REQUEST{_dir(folder)}",
            as_json,
        )

    guarded(work)


@app.command("enrol")
def enrol_command(
    name: Name,
    request: Annotated[
        Path, typer.Argument(help="The partner's request.json.", show_default=False)
    ],
    folder: Dir = HERE,
    out: Annotated[
        Path | None, typer.Option(help="Where to write [default: NAME.enrolment.json].")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Take new keys for a known name, and revoke the old ones."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign a partner's request: it may take part.  The same keys again renew its certificate."""

    def work() -> None:
        from server.membership.enrolment import enrol
        from server.settings import ServerFolder
        from shared.certificates import utc_now
        from shared.files import write_text

        text = _read(request)
        done = enrol(ServerFolder(folder), name, text, now=utc_now(), replace=replace)
        path = out or Path(f"{name}.enrolment.json")
        write_text(path, done.enrolment.text())
        partner = done.partner
        _say(
            {
                "name": name,
                "enrolment": str(path),
                "renewed": done.renewed,
                "serial": partner.serial,
                "not_after": partner.not_after,
                "fingerprint": done.request.fingerprint,
                "revoked": list(done.revoked),
                "gateway_reloaded": done.reloaded,
            },
            f"{'Renewed' if done.renewed else 'Enrolled'} {name} ({partner.kind}, "
            f"{partner.population:,} users) until {partner.not_after[:10]}.\n"
            f"Fingerprint of the request: {done.request.fingerprint}\n"
            "  Compare it with the partner's over another channel.\n"
            + (f"Revoked {len(done.revoked)} older certificates.\n" if done.revoked else "")
            + f"Next: send back {path}. There is no secret in it.",
            as_json,
        )

    guarded(work)


@app.command("revoke")
def revoke_command(name: Name, folder: Dir = HERE, as_json: AsJson = False) -> None:
    """Shut a partner out, now: its certificates, its node key, its open connections."""

    def work() -> None:
        from contextlib import suppress

        from server.membership.enrolment import revoke
        from server.running.runs import runs
        from server.running.shortfall import shortfall
        from server.settings import ServerFolder
        from shared.certificates import utc_now
        from shared.errors import FedInterestError

        place = ServerFolder(folder)
        done = revoke(place, name, now=utc_now())
        short = None
        with suppress(FedInterestError):  # it is revoked, however damaged a run may be
            if (known := runs(place)) and known[-1].finished is None:
                short = shortfall(place, known[-1])
        values = {"name": name, "revoked": list(done.revoked), "gateway_reloaded": done.reloaded}
        if short is not None:
            values["stops"] = {"run": short.run, "quorum": short.quorum, "left": list(short.left)}
        _say(
            values,
            f"Revoked {name}: {len(done.revoked)} certificates. "
            + ("The gateway refuses it now." if done.reloaded else "The gateway does not run.")
            + "\nIt may come back with new keys: enrol with --replace."
            + (
                f"\nRun {short.run} needs {short.quorum} platforms and has {len(short.left)} left: "
                f"it stops.\n{short.remedy}"
                if short is not None
                else ""
            ),
            as_json,
        )

    guarded(work)


@app.command("partners")
def partners_command(folder: Dir = HERE, as_json: AsJson = False) -> None:
    """List the partners, and how long their certificates are valid."""

    def work() -> None:
        from dataclasses import asdict
        from datetime import datetime

        from server.membership.partners import Partners
        from server.settings import ServerFolder
        from shared.certificates import utc_now

        ServerFolder(folder).require()
        now = utc_now()
        rows = [
            {
                **asdict(one),
                "days_left": (datetime.fromisoformat(one.not_after) - now).total_seconds() / 86400,
            }
            for one in Partners(folder).list()
        ]
        if as_json:
            print(json.dumps(rows, indent=2))
            return
        if not rows:
            print(f"Nobody is enrolled yet: fedinterest-server enrol NAME REQUEST{_dir(folder)}")
            return
        print(f"{'name':24} {'kind':16} {'users':>12} {'status':10} certificate")
        for row in rows:
            until = f"{row['not_after'][:10]} ({row['days_left']:.0f} days)"
            print(
                f"{row['name']:24} {row['kind']:16} {row['population']:>12,} "
                f"{row['status']:10} {until if row['status'] == 'enrolled' else '-'}"
            )

    guarded(work)


@app.command("up")
def up_command(
    folder: Folder = HERE,
    once: Annotated[
        bool, typer.Option("--once", help="End when the run's rounds are done.")
    ] = False,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of a new run [default: server.toml's].")
    ] = None,
) -> None:
    """Run the coordinator: gateway, SuperLink, training.  Goes on where it was stopped."""

    def work() -> None:
        from server.running.up import up

        if code := up(folder, once=once, rounds=rounds):
            raise typer.Exit(code)

    guarded(work)


@app.command("status")
def status_command(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Say what is running, which round it is at, and whom it waits for."""

    def work() -> None:
        from server.running.status import render, status

        found = status(folder)
        if as_json:
            print(json.dumps(found, indent=2, allow_nan=False))
        else:
            from rich.console import Console

            render(found, Console())

    guarded(work)


def _read(path: Path) -> str:
    from shared.enrolment import MAX_TEXT_BYTES
    from shared.errors import SourceError

    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise SourceError(
                expected=f"a request of at most {MAX_TEXT_BYTES} bytes",
                got=f"{path.stat().st_size} bytes",
                where=str(path),
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError(
            expected="a partner's request",
            got=error.strerror or type(error).__name__,
            where=str(path),
            remedy="`fedinterest-client init` writes it: request.json.",
        ) from error
    except UnicodeDecodeError as error:
        raise SourceError(expected="JSON in UTF-8", got="bytes", where=str(path)) from error


def _say(values: dict[str, Any], text: str, as_json: bool) -> None:
    print(json.dumps(values, indent=2) if as_json else text)


def _dir(folder: Path) -> str:
    return "" if folder == HERE else f" --dir {folder}"


def main() -> None:
    """Entry point of `fedinterest-server`."""
    app(prog_name="fedinterest-server")


if __name__ == "__main__":
    main()
