"""A runner at work: one thread takes due runs from the server, another keeps those that it has."""

from __future__ import annotations

import logging
import threading
import time as clocks
from pathlib import Path

from clock import utc_now
from execution.runner.configuration import Configuration, Template, read_key
from execution.runner.journal import Journal
from execution.runner.keeping import FIRST_PAUSE_S, LONGEST_PAUSE_S, Keeper, Rhythm
from execution.runner.protocol import (
    LONGEST_POLL_S,
    OfferedParameter,
    OfferedTemplate,
    Registration,
    Take,
)
from execution.runner.rapl import POWERCAP, Rapl
from execution.runner.server_calls import ServerCalls, ServerGone, ServerRefused
from execution.runner.server_time import ServerTime
from outgoing.calls import KeptCaller
from printable import printable

log = logging.getLogger(__name__)

KEEP_EVERY_S = 0.5
_NOT_FOUND, _CONFLICT = 404, 409


class Replaced(Exception):
    """Another runner has registered by this one's name."""


class Runner:
    """One runner, from `run` until its stop is asked for. What it has started goes on, and is found again."""

    def __init__(self, configuration: Configuration, *, powercap: Path = POWERCAP) -> None:
        """
        Raises:
            ConfigurationRefused: its key cannot be read.
            DirectoryInUse: another runner uses its state directory.
            OSError: the state directory cannot be used.
        """
        key = None if configuration.key_file is None else read_key(configuration.key_file)
        self._configuration = configuration
        self._journal = Journal(configuration.state_directory)
        self._rhythm = Rhythm()
        time = ServerTime(clocks.monotonic, utc_now, self._journal.anchor())
        self._calls = ServerCalls(configuration.server_url, configuration.runner_id, key, KeptCaller(), time)
        self._keeper = Keeper(configuration, self._journal, self._calls, time, self._rhythm, rapl=Rapl(powercap))
        self._is_asked_to_stop = False
        self._stopping = threading.Event()
        self._has_ended_taking = threading.Event()
        self._session: str | None = None

    def stop(self) -> None:
        """Have `run` return soon. For a signal's handler: it takes no lock, which who is interrupted may hold."""
        self._is_asked_to_stop = True

    def run(self) -> int:
        """Work until `stop`, or until another runner has taken this one's name and nothing is left to report.

        Returns:
            The exit status.
        """
        # A daemon: it may be waiting for work, and what it is offered meanwhile is offered again.
        threading.Thread(target=self._take_on, name="taking", daemon=True).start()
        while not self._stopping.wait(KEEP_EVERY_S) and not self._is_asked_to_stop:
            self._keep_once()
            if self._has_ended_taking.is_set() and not self._keeper.holding():
                break
        self._stopping.set()
        left = len(self._keeper.holding())
        if left:
            log.info(
                "%s without this runner: start it again within %d s, or it is ended",
                "1 run goes on" if left == 1 else f"{left} runs go on",
                self._rhythm.lost_after_s,
            )
        self._journal.close()
        return 1 if self._has_ended_taking.is_set() else 0

    def _keep_once(self) -> None:
        try:
            self._keeper.keep()
        except (OSError, ValueError) as error:  # a full disk, say; the next time may go better
            log.error("the state directory: %s", printable(error))  # noqa: TRY400
        except Exception:
            log.exception("what is due could not be done")

    def _take_on(self) -> None:
        pause_s = FIRST_PAUSE_S
        told = ""
        while not self._stopping.is_set():
            try:
                self._take_once()
                if told:
                    log.info("the server can be asked for work again")
                pause_s, told = FIRST_PAUSE_S, ""
                continue
            except Replaced as error:
                log.error("%s: this one takes nothing more", error)  # noqa: TRY400
                self._has_ended_taking.set()
                return
            except ServerGone as gone:
                if str(gone) != told:
                    log.warning("there is nobody to ask for work, and it is tried again: %s", gone)
                told = str(gone)
            except ServerRefused as refused:
                if str(refused) != told:
                    log.error("the server refuses this runner: %s", refused)  # noqa: TRY400
                told = str(refused)
                pause_s = LONGEST_PAUSE_S if refused.status != _NOT_FOUND else pause_s
            except Exception:
                log.exception("no work could be taken")
            self._stopping.wait(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    def _take_once(self) -> None:
        if self._session is None:
            self._register()
        templates = self._keeper.templates_with_room()
        if not templates or self._session is None:
            self._stopping.wait(KEEP_EVERY_S)
            return
        asked = Take(
            session=self._session, templates=templates, holding=self._keeper.holding(), wait_s=LONGEST_POLL_S
        )
        try:
            taken = self._calls.take(asked)
        except ServerRefused as refused:
            if refused.status == _CONFLICT:
                raise Replaced(str(refused)) from None
            if refused.status == _NOT_FOUND:
                self._session = None
            raise
        for offered in taken.runs:
            self._keeper.accept(offered)
        self._stopping.wait(taken.ask_again_s)

    def _register(self) -> None:
        configuration = self._configuration
        registered = self._calls.register(
            Registration(
                runner_id=configuration.runner_id,
                dc_id=configuration.data_centre,
                capacity_kw=configuration.capacity_kw,
                templates={name: _offered(template) for name, template in configuration.templates.items()},
                take_over=configuration.take_over,
            )
        )
        self._session = registered.session
        self._rhythm.heartbeat_s, self._rhythm.lost_after_s = registered.heartbeat_s, registered.lost_after_s
        log.info(
            "registered as %s of %s, for %s: it waits for work",
            configuration.runner_id,
            configuration.data_centre,
            ", ".join(sorted(configuration.templates)),
        )


def _offered(template: Template) -> OfferedTemplate:
    return OfferedTemplate(
        power_kw=template.power_kw,
        longest_s=template.limits.longest_s,
        parameters={
            name: OfferedParameter(pattern=parameter.pattern.pattern, optional=parameter.default is not None)
            for name, parameter in template.parameters.items()
        },
    )
