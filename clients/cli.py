"""`fedinterest-client`: take part in a federation with a platform's own data, under its own policy.

Only what parses arguments is imported at the top: `--help` must be instant.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from shared.guard import guarded

if TYPE_CHECKING:
    from clients.home import Home
    from clients.settings import ClientFolder

# Plain help: typer with rich loads slowly, and escapes the brackets of "[required]" even when
# it prints without it.
typer.core.HAS_RICH = False

app = typer.Typer(
    name="fedinterest-client",
    help="Take part in a federation: raw data stays here, and the policy is yours.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EXAMPLES = """\b
Examples:
  fedinterest-client init shop --events orders.csv --items products.csv
  fedinterest-client check shop --enrolment shop.enrolment.json
  fedinterest-client up shop
"""
SERVE_EXAMPLES = """\b
Examples:
  fedinterest-client serve shop
  fedinterest-client serve runs/demo/platforms/arcade
  curl -s localhost:9471/v1/recommend --json '{"user_id": "u-17", "k": 5}'
"""
UI_EXAMPLES = """\b
Examples:
  fedinterest-client ui shop
  fedinterest-client ui runs/demo/platforms/arcade --port 9480 --no-browser
"""
FORGET_EXAMPLE = """\b
Example:
  fedinterest-client forget customer-17 --dir shop
"""

Folder = Annotated[Path, typer.Argument(metavar="[DIR]", help="The partner's folder [default: .].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, quietly.")]
HERE = Path()


@app.command("init", epilog=EXAMPLES)
def init_command(
    folder: Folder = HERE,
    name: Annotated[
        str | None, typer.Option(help="Of the platform [default: the folder's name].")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="What it is, in a word.")] = None,
    population: Annotated[
        int | None, typer.Option(help="Public number of users, at least as many as there are.")
    ] = None,
    events: Annotated[Path | None, typer.Option(help="The log: a file or a folder.")] = None,
    items: Annotated[Path | None, typer.Option(help="The catalogue.")] = None,
    user: Annotated[str | None, typer.Option(help="Column of the log with the user.")] = None,
    item: Annotated[str | None, typer.Option(help="Column of the log with the item.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of the log with the time.")] = None,
    time_unit: Annotated[str | None, typer.Option(help="s, ms, us or iso.")] = None,
    item_id: Annotated[
        str | None, typer.Option(help="Column of the catalogue with the id.")
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Column of the catalogue with the title.")
    ] = None,
    category: Annotated[str | None, typer.Option(help="Column with a category path.")] = None,
    separator: Annotated[
        str | None, typer.Option(help="Between the log's fields, where it is unusual.")
    ] = None,
    header: Annotated[
        str | None, typer.Option(help="The log's columns, by commas, where it has no header.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Take what is proposed, ask nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at the data, write client.toml, make the keys and the request to the coordinator."""

    def work() -> None:
        from clients.joining.interview import Given, interview
        from clients.joining.start import begin
        from clients.settings import ClientFolder

        given = Given(
            name=name,
            kind=kind,
            population=population,
            events=events,
            items=items,
            columns={
                "user": user,
                "item": item,
                "time": time,
                "item_id": item_id,
                "title": title,
                "category": category,
            },
            time_unit=time_unit,
            separator=separator,
            header=tuple(header.split(",")) if header else (),
        )
        place = ClientFolder.at(folder)
        ask = None if yes or as_json or not sys.stdin.isatty() else _ask
        answers = interview(place, given, ask)
        home = begin(place, answers)
        from shared.enrolment import EnrolmentRequest

        request = EnrolmentRequest.read(home.folder.request.read_text(encoding="utf-8"))
        values = {
            "folder": str(home.folder.path),
            "name": home.name,
            "request": str(home.folder.request),
            "fingerprint": request.fingerprint,
            "statement_key_id": home.keys.signing.public.id,
            "population": answers.population,
            "columns": answers.columns,
        }
        shown = "".join(f"  {what}: {column}\n" for what, column in answers.columns.items())
        _say(
            values,
            f"Made {home.folder.path}: {home.name}, population {answers.population:,} (public).\n"
            f"{shown}"
            f"Look through {home.folder.toml}: what is permitted is said there.\n"
            f"Next: send {home.folder.request} to the coordinator. There is no secret in it.\n"
            f"  Its fingerprint, to compare over another channel: {request.fingerprint}\n"
            "Then: fedinterest-client check --enrolment FILE-THAT-CAME-BACK",
            as_json,
        )

    guarded(work)


@app.command("check", epilog=EXAMPLES)
def check_command(
    folder: Folder = HERE,
    enrolment: Annotated[
        Path | None, typer.Option(help="What the coordinator sent back; it is kept.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Leave the gateway out.")] = False,
    no_rehearsal: Annotated[
        bool, typer.Option("--no-rehearsal", help="Leave the round on a copy out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See that all is in place, and rehearse a round: nothing is sent, nothing is charged.

    Exits with the code of the first check that failed.
    """

    def work() -> None:
        from clients.home import Home
        from clients.joining.preflight import preflight, render
        from clients.settings import ClientFolder
        from shared.progress import Progress

        place = ClientFolder.at(folder)
        if enrolment is not None:
            Home.open(place.path).enrol(enrolment)
        with Progress(quiet=as_json) as progress:
            found = preflight(place, progress, gateway=not offline, rehearsal=not no_rehearsal)
        _show(found, render, as_json)
        if found["code"]:
            raise typer.Exit(found["code"])

    guarded(work)


@app.command("up")
def up_command(folder: Folder = HERE) -> None:
    """Take part until told to stop: sidecar, SuperNode, executor, under this platform's policy."""

    def work() -> None:
        import logging

        from clients.node.up import up
        from shared.operations.logs import event, start_logging
        from shared.progress import Progress

        home = _home(folder)
        home.folder.make()
        start_logging(home.folder.log / "client.jsonl")
        log = logging.getLogger("fedinterest.client")
        with Progress() as progress:

            def tell(what: str, child: str, fields: dict[str, Any]) -> None:
                event(log, what, child=child, **fields)
                progress.say(f"{child}: {what}")

            progress.say(f"{home.name}: {home.folder.path}; stop it with Ctrl-C, or from elsewhere")
            code = up(home, progress, tell=tell)
        if code:
            raise typer.Exit(code)

    guarded(work)


@app.command("status")
def status_command(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """What runs, what was answered and refused, what is left of the budget."""

    def work() -> None:
        from clients.node.status import render, status

        _show(status(_home(folder)), render, as_json)

    guarded(work)


@app.command("budget")
def budget_command(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """What users were promised, what was spent: for each run, and all composed."""

    def work() -> None:
        from clients.spending.budget import budget, render

        _show(budget(_home(folder)), render, as_json)

    guarded(work)


@app.command("forget", epilog=FORGET_EXAMPLE)
def forget_command(
    user: Annotated[str, typer.Argument(help="The user's id, as the log writes it.")],
    folder: Annotated[
        Path, typer.Option("--dir", help="The partner's folder [default: .].", show_default=False)
    ] = HERE,
    as_json: AsJson = False,
) -> None:
    """Learn nothing from a user any more, and leave a signed receipt.

    Waits for the end of a round that is being computed.  Erase the user in the raw log yourself.
    """

    def work() -> None:
        from dataclasses import asdict

        from clients.forget import forget

        home = _home(folder)
        receipt = forget(home, user)
        path = home.folder.receipts / f"{receipt.pseudonym[:32]}.json"
        _say(
            {**asdict(receipt), "receipt": str(path)},
            ("Forgotten" if receipt.found else "Not among those trained on; noted all the same")
            + f": no further round is trained on this user. Receipt: {path}",
            as_json,
        )

    guarded(work)


@app.command("pause")
def pause_command(folder: Folder = HERE) -> None:
    """Refuse everything until `resume`; a round that is being computed is ended."""

    def work() -> None:
        from clients.node.control import pause

        pause(_there(folder))
        print("Paused: everything is refused until `fedinterest-client resume`.")

    guarded(work)


@app.command("resume")
def resume_command(folder: Folder = HERE) -> None:
    """Take part again."""

    def work() -> None:
        from clients.node.control import resume

        print("Taking part again." if resume(_there(folder)) else "It was not paused.")

    guarded(work)


@app.command("stop")
def stop_command(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """End all programs of this platform within 5 s; nothing is sent after this returns."""

    def work() -> None:
        from clients.node.control import stop

        found = stop(_there(folder))
        _say(
            found,
            f"Stopped in {found['seconds']:.1f} s: no process is left."
            if found["stopped"]
            else "Nothing was running.",
            as_json,
        )

    guarded(work)


@app.command("serve", epilog=SERVE_EXAMPLES)
def serve_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]", help="The partner's folder, or RUN/platforms/NAME [default: .]."
        ),
    ] = HERE,
    address: Annotated[
        str | None, typer.Option(help='Of gRPC, "host:port" [default: client.toml\'s].')
    ] = None,
    json_address: Annotated[
        str | None, typer.Option(help='Of the JSON gateway, "host:port".')
    ] = None,
) -> None:
    """Answer this platform's own programs: recommendations, interests, audiences.

    Nothing of it is sent to the coordinator.  Needs pip install 'fedinterest[serving]'.
    """

    def work() -> None:
        from clients.serving.heap import one_heap
        from clients.serving.threads import one_thread

        one_thread()
        one_heap()
        from clients.serving.start import run

        code = run(folder, address=address, json_address=json_address)
        if code:
            raise typer.Exit(code)

    guarded(work)


@app.command("ui", epilog=UI_EXAMPLES)
def ui_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]", help="The partner's folder, or RUN/platforms/NAME [default: .]."
        ),
    ] = HERE,
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 picks a free one.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in a browser.")
    ] = True,
) -> None:
    """Show this platform its own numbers in a browser: what is served, to whom it does good.

    For who started it, on this machine only; a service on the same folder goes on beside it.
    """

    def work() -> None:
        from clients.serving.ui.start import run

        code = run(folder, port=port, browser=browser)
        if code:
            raise typer.Exit(code)

    guarded(work)


@app.command("rotate-keys")
def rotate_command(
    folder: Folder = HERE,
    statement_key: Annotated[
        bool,
        typer.Option("--statement-key", help="The signing key too: a new identity for the record."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make new TLS and node keys and a new request.json; nothing works until it is enrolled."""

    def work() -> None:
        from clients.joining.rotation import rotate

        home = _home(folder)
        request = rotate(home, statement_key=statement_key)
        _say(
            {
                "request": str(home.folder.request),
                "fingerprint": request.fingerprint,
                "statement_key": request.statement_key,
            },
            f"New keys. Next: send {home.folder.request} to the coordinator, who enrols it with "
            "--replace,\nand give what comes back to fedinterest-client check --enrolment FILE.\n"
            f"Fingerprint: {request.fingerprint}",
            as_json,
        )

    guarded(work)


def _home(folder: Path) -> "Home":
    from clients.home import Home

    return Home.open(folder)


def _there(folder: Path) -> "ClientFolder":
    """A partner's folder, its settings unread: whatever they say, it can be stopped."""
    from clients.settings import ClientFolder
    from shared.errors import SourceError

    found = ClientFolder.at(folder)
    if not found.toml.is_file():
        raise SourceError(
            expected="a partner's folder with client.toml",
            got="none",
            where=str(found.path),
            remedy="Give DIR, or go there.",
        )
    return found


def _ask(question: str, proposed: str) -> str:
    answer: str = typer.prompt(question, default=proposed or None)
    return answer.strip()


def _say(values: dict[str, Any], text: str, as_json: bool) -> None:
    print(json.dumps(values, indent=2, ensure_ascii=False) if as_json else text)


def _show(found: dict[str, Any], render: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    render(found, Console())


def main() -> None:
    """Entry point of `fedinterest-client`."""
    app()


if __name__ == "__main__":
    main()
