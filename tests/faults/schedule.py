"""Schedules: every order in which intents, sends, replies, crashes, sweeps and time can follow one another. Pure.

    python -m tests.faults.schedule --count 50000 --seed 1

A :class:`Schedule` holds a service (:class:`Service`), two ledgers (entries, by the reference ``entry.apply``), copies
of them, and a process that may die. Its decisions are the product's own: ``plan``, ``meet``, ``judge``, ``rule``,
``facts_of`` and the resolver's unresolved entries. There is no event loop in it, so that some thousand schedules a
second can be tried.

A ledger may go back to an older copy, and another ledger may be used for a while. Both come with the condition that the
documentation states: what the account was sent before has taken effect, and List shows it.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import msgspec
import structlog

from provisioner.core.conclusion import UNANSWERED_LIMIT
from provisioner.core.entry import Entry, Event, Fact, Stamp, State, apply
from provisioner.core.first_contact import OTHER_LEDGER, Choice, meet
from provisioner.core.first_contact import facts_of as facts_of_meeting
from provisioner.core.inventory import Found
from provisioner.core.ownership import OwnershipTag
from provisioner.core.planner import Action, Planner, Situation
from provisioner.core.sweep import Decision, Sweep, facts_of, interrupted, missed, rule
from provisioner.core.verdict import Loss, Reply, Verdict, is_conflict, judge
from provisioner.engine.resolver import Resolver
from provisioner.engine.sending import STALE_S
from provisioner.manifest.definition import Definition
from provisioner.manifest.reader import Row
from tests.fakes import make_policy
from tests.faults.world import ROLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.core.policy import Policy

Names = Literal["unique", "duplicates", "same"]
Flaw = Literal["", "settle 0", "settle 60", "blind resend", "immediate List", "no first contact", "too early"]

TARGET = "default"
LEDGER_IDS = ("0123456789abcdef", "fedcba9876543210")
EXECUTION_S = 295.0
"""A create takes effect within this of its signature, or never: the first half of the condition."""
LAG_S = 55.0
"""List shows an algorithm within this: the second half."""
LOST = (
    Reply(loss=Loss.READ_TIMEOUT),
    Reply(loss=Loss.RESET),
    Reply(loss=Loss.CLOSED),
    Reply(status=500, code="InternalServerException"),
    Reply(status=200),
)
HARMLESS = (
    Reply(status=429),
    Reply(status=503, code="SlowDown"),
    Reply(loss=Loss.DNS),
    Reply(loss=Loss.REFUSED),
    Reply(status=403, code="ExpiredTokenException"),
)


class Made(NamedTuple):
    """An algorithm: its ARN, which attempt of which ledger made it, and since when it exists."""

    arn: str
    name: str
    attempt: str
    ledger_id: str
    since: float

    @property
    def found(self) -> Found:
        """What Get reports."""
        row = row_of(self.name)
        tag = OwnershipTag(self.ledger_id, row.digest, self.attempt)
        return Found(self.arn, self.name, self.since, tag, row.digest, row.tags_digest)


class Call(msgspec.Struct):
    """A create that has left.

    Attributes:
        name, attempt: of the definition.
        ledger_id: of the ledger that has its intent.
        at: when it takes effect, None for never.
        reply: what the process will see, None for the service's own answer.
        answer: what the service has answered.
    """

    name: str
    attempt: str
    ledger_id: str
    at: float | None
    reply: Reply | None
    answer: Reply | None = None


class Service:
    """What exists, and what is on its way.

    Args:
        names: its world of names.
    """

    def __init__(self, names: Names) -> None:
        self.made: list[Made] = []
        self._names = names
        self._coming: list[Call] = []

    def accept(self, call: Call) -> None:
        """Take a create in; it takes effect in its time."""
        if call.at is not None:
            self._coming.append(call)

    def advance(self, now: float) -> None:
        """Let everything take effect that is due."""
        due = [(call.at, number) for number, call in enumerate(self._coming) if call.at is not None and call.at <= now]
        coming, gone = self._coming, {number for _, number in due}
        self._coming = [call for number, call in enumerate(coming) if number not in gone]
        for _, number in sorted(due):
            coming[number].answer = self._create(coming[number])

    def _create(self, call: Call) -> Reply:
        same = [one for one in self.made if one.name == call.name]
        if same and self._names == "unique":
            return Reply(status=409, code="ConflictException")
        if not same or self._names == "duplicates":
            arn = f"arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/{len(self.made)}"
            same = [Made(arn, call.name, call.attempt, call.ledger_id, call.at or 0.0)]
            self.made += same
        return Reply(status=200, arn=same[0].arn)

    def listed(self, now: float, lag_s: float) -> list[Made]:
        """What List shows."""
        return [one for one in self.made if one.since + lag_s <= now]


class Process(msgspec.Struct):
    """What dies with the process.

    Attributes:
        queue: names to be created.
        intended: names whose intent is committed, with its time.
        ready: names whose create is about to leave; the process may stand still before it does, however long.
        calls: creates whose reply has not come.
        doubts: how often each name's create ended in doubt.
        resolver: keeps the unresolved entries.
        listed: what first contact saw, None before it.
    """

    resolver: Resolver
    queue: list[str] = []
    intended: dict[str, Stamp] = {}
    ready: list[str] = []
    calls: dict[str, Call] = {}
    doubts: Counter[str] = msgspec.field(default_factory=Counter)
    listed: list[Made] | None = None


@cache
def row_of(name: str) -> Row:
    """The manifest's line for ``name``."""
    definition = Definition(name=name, role_arn=ROLE)
    return Row("m.jsonl", 1, definition, definition.canonical())


class Schedule:
    """One history, step by step.

    Args:
        names: the world of names.
        policy: what the process believes and how long it waits.
        size: definitions.
        flaw: what is wrong with the process, "" for nothing.
    """

    def __init__(self, names: Names, policy: Policy, size: int = 2, flaw: Flaw = "") -> None:
        self.now = 1000.0
        self.boot = "boot 0"
        self.names = [f"algorithm {number}" for number in range(size)]
        self.service = Service(names)
        self.ledger_id = LEDGER_IDS[0]
        self.ledgers: dict[str, dict[str, Entry]] = {ledger_id: {} for ledger_id in LEDGER_IDS}
        self.copies: list[tuple[str, dict[str, Entry]]] = []
        self.intents: set[str] = set()
        self.process: Process | None = None
        self.flaw = flaw
        self.policy = policy
        if flaw.startswith("settle"):
            self.policy = msgspec.structs.replace(policy, settle_s=float(flaw.split()[1]))
        elif flaw == "immediate List":
            self.policy = msgspec.structs.replace(policy, settle_s=0.0, list_lag_s=0.0)
        self._attempts = 0

    # What happens outside.

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self.service.advance(self.now)

    def crash(self) -> None:
        """The process dies."""
        self.process = None

    def restart_machine(self) -> None:
        """The process dies, and its clock with it."""
        self.crash()
        self.boot = f"boot {self.now}"

    def copy(self) -> None:
        """Somebody copies the ledger."""
        self.copies.append((self.ledger_id, dict(self.ledger)))

    def go_back(self, copy: int) -> None:
        """A copy takes the place of its ledger, once what the account was sent has settled."""
        self._settle()
        ledger_id, entries = self.copies[copy]
        self.ledgers[ledger_id] = dict(entries)

    def use_other_ledger(self) -> None:
        """The next runs use the other ledger, once what the account was sent has settled."""
        self._settle()
        self.ledger_id = next(one for one in LEDGER_IDS if one != self.ledger_id)

    def _settle(self) -> None:
        self.crash()
        # The control that the condition is needed: List's lag alone does not cover a create that is still to come.
        self.wait(LAG_S if self.flaw == "too early" else EXECUTION_S + LAG_S)

    # What the process does.

    def start(self) -> None:
        """A process begins: what an earlier one left is unresolved, the rest is planned."""
        target: Any = SimpleNamespace(clock=self, name=TARGET)
        self.process = Process(Resolver(target, self.policy))
        for entry in list(self.ledger.values()):
            if entry.state is State.SENT:
                self._record(interrupted(entry, self.stamp()))
            if entry.unresolved:
                self.process.resolver.recall(self.ledger[entry.name], self.stamp())
        for name in self.names:
            self._plan(name)

    def _plan(self, name: str) -> None:
        assert self.process is not None
        entry = self.ledger.get(name)
        step = Planner(TARGET, self.policy, self.ledger_id).plan(row_of(name), Situation(entry))
        for fact in step.facts:
            self._record(fact)
        if step.action is Action.CREATE:
            self.process.queue.append(name)
        resent = self.policy.names == "unique" and step.action is Action.AMBIGUOUS
        if resent and not is_conflict(self.ledger[name].code):
            self._release_doubt(name)

    def contact(self, *, lag_s: float, complete: bool) -> None:
        """List is read before the first create; a run that cannot read it to its end creates nothing."""
        assert self.process is not None
        if complete:
            self.process.listed = self.service.listed(self.now, lag_s)
        else:
            self.crash()

    def intend(self) -> None:
        """The first in the queue has its intent committed, unless what exists under its name is taken or refused."""
        assert self.process is not None
        assert self.process.listed is not None
        name = self.process.queue.pop(0)
        row, entry = row_of(name), self.ledger.get(name)
        found = [made.found for made in self.process.listed if made.name == name]
        meeting = meet(row, entry, found, self.policy, self.ledger_id)
        if meeting.choice is not Choice.CREATE and self.flaw != "no first contact":
            for fact in facts_of_meeting(TARGET, row, entry, meeting):
                self._record(fact)
            return
        self._attempts += 1
        attempt, sent = f"a-{self._attempts}", self.stamp()
        fact = Fact(TARGET, name, Event.INTEND, row.digest, row.tags_digest, attempt=attempt, sent=sent)
        self._record(fact)
        self.intents.add(attempt)
        self.process.intended[name] = sent

    def look(self, name: str) -> None:
        """The last look at the clock before a create leaves: a stale intent is taken back."""
        assert self.process is not None
        sent = self.process.intended.pop(name)
        entry = self.ledger[name]
        if sent.age_s(self.stamp()) > STALE_S:
            self._record(Fact(TARGET, name, Event.RELEASE, after=entry.attempt))
            self.process.queue.append(name)
        else:
            self.process.ready.append(name)

    def send(self, name: str, effect_s: float | None, reply: Reply | None) -> None:
        """A create leaves.

        Args:
            name: one that is ready.
            effect_s: seconds until it takes effect, None for never.
            reply: what will be seen, None for the service's answer.
        """
        assert self.process is not None
        self.process.ready.remove(name)
        entry = self.ledger[name]
        assert entry.state is State.SENT
        assert entry.attempt in self.intents
        call = Call(name, entry.attempt, self.ledger_id, None if effect_s is None else self.now + effect_s, reply)
        self.service.accept(call)
        self.service.advance(self.now)
        self.process.calls[name] = call

    def receive(self, name: str) -> None:
        """The reply of a create is seen, or that there is none."""
        assert self.process is not None
        call = self.process.calls.pop(name)
        reply = call.reply or call.answer or Reply(loss=Loss.READ_TIMEOUT)
        verdict = judge(reply)
        if verdict is Verdict.AMBIGUOUS and self.flaw == "blind resend":
            verdict = Verdict.THROTTLED
        if verdict is Verdict.CREATED:
            self._record(Fact(TARGET, name, Event.CONFIRM, arn=reply.arn, after=call.attempt))
        elif verdict in {Verdict.THROTTLED, Verdict.NOT_CREATED}:
            self._record(Fact(TARGET, name, Event.RELEASE, after=call.attempt))
            self.process.queue.append(name)
        else:
            assert verdict is Verdict.AMBIGUOUS
            self._doubt(name, conflict=reply.status == 409)

    def _doubt(self, name: str, *, conflict: bool) -> None:
        assert self.process is not None
        entry = self.ledger[name]
        sent = entry.sent and entry.sent.until(self.stamp())
        code = "409" if conflict else ""
        self._record(Fact(TARGET, name, Event.DOUBT, sent=sent, code=code, after=entry.attempt))
        self.process.doubts[name] += 1
        if self.policy.resend_is_safe and not conflict and self.process.doubts[name] <= UNANSWERED_LIMIT:
            self._release_doubt(name)
        else:
            self.process.resolver.add(self.ledger[name], conflict=conflict)

    def _release_doubt(self, name: str) -> None:
        assert self.process is not None
        self._record(Fact(TARGET, name, Event.ABSENT))
        self.process.resolver.forget(name)
        self.process.queue.append(name)

    def sweep(self, *, lag_s: float, complete: bool) -> None:
        """List and Get, what they say committed, and what is absent planned again.

        Args:
            lag_s: how far List is behind.
            complete: whether it does not break off (then what was last in it is not seen).
        """
        assert self.process is not None
        listed = self.service.listed(self.now, lag_s)
        found: dict[str, list[Found]] = defaultdict(list)
        for made in listed if complete else listed[:-1]:
            found[made.name].append(made.found)
        seen = Sweep(self.now, complete, found, stamp=self.stamp())
        resolver = self.process.resolver
        for unresolved in list(resolver._unresolved.values()):
            ruling = rule(unresolved, seen, self.policy, self.ledger_id)
            if self.flaw == "immediate List" and ruling.decision is Decision.ABSENT_ONCE:
                ruling = msgspec.structs.replace(ruling, decision=Decision.ABSENT)
            if ruling.decision is Decision.ABSENT_ONCE:
                self._record(missed(unresolved.entry, seen.stamp, self.policy.settle_s))
            for fact in facts_of(unresolved.entry, ruling):
                self._record(fact)
            if resolver._take(unresolved, ruling, seen) and ruling.decision is Decision.ABSENT:
                self.process.queue.append(unresolved.entry.name)

    @property
    def may_sweep(self) -> bool:
        """Whether the process would sweep now: nothing is under way, and the unresolved entries are due."""
        process = self.process
        idle = process is not None and not (process.queue or process.intended or process.ready or process.calls)
        return idle and process is not None and bool(len(process.resolver)) and not process.resolver.due_in_s()

    @property
    def ledger(self) -> dict[str, Entry]:
        """The entries of the ledger that is used now, by name."""
        return self.ledgers[self.ledger_id]

    # Clocks, for the resolver.

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        return self.now

    def stamp(self) -> Stamp:
        """Now; the wall clock is of no use."""
        return Stamp(0.0, self.boot, self.now)

    def _record(self, fact: Fact) -> None:
        self.ledger[fact.name] = apply(self.ledger.get(fact.name), fact, at=self.now, run_id="run")

    # The end.

    def finish(self) -> None:
        """Let the world be kind, and the job end, with each ledger that was ever used."""
        self._finish()
        if any(entries for ledger_id, entries in self.ledgers.items() if ledger_id != self.ledger_id):
            self.use_other_ledger()
            self._finish()
        self.wait(2 * EXECUTION_S)

    def _finish(self) -> None:
        for _ in range(60):
            if self.process is None:
                self.start()
            process = self.process
            assert process is not None
            for name in list(process.calls):
                self.wait(EXECUTION_S)
                self.receive(name)
            for name in list(process.intended):
                self.look(name)
            for name in list(process.ready):
                self.send(name, 0.0, None)
            if process.queue:
                if process.listed is None:
                    self.contact(lag_s=LAG_S, complete=True)
                self.intend()
            elif not (process.intended or process.calls):
                if not len(process.resolver):
                    break
                self.wait(process.resolver.due_in_s())
                self.sweep(lag_s=LAG_S, complete=True)

    def verdict(self) -> str:
        """What is wrong, nothing when each definition exists once and each ledger that was used says so.

        What the other ledger created is refused with its id, and stays the only one of its name; only where the
        configuration says that names may repeat, each ledger has one of its own.
        """
        if self.twice:
            return "twice"
        if {one.name for one in self.service.made} != set(self.names):
            return "lost"
        used = [ledger_id for ledger_id, entries in self.ledgers.items() if entries]
        right = all(self._is_right(ledger_id, name) for ledger_id in used for name in self.names)
        return "" if right else "unfinished"

    def _is_right(self, ledger_id: str, name: str) -> bool:
        entry = self.ledgers[ledger_id].get(name)
        if entry is None:
            return False
        own = [one.arn for one in self.service.made if (one.name, one.ledger_id) == (name, ledger_id)]
        if not own:
            return (entry.state, entry.code) == (State.FAILED, OTHER_LEDGER)
        return (entry.state, entry.arn) == (State.CREATED, own[0])

    @property
    def twice(self) -> bool:
        """Whether an algorithm exists that should not."""
        apart = self.policy.names == "duplicates"
        made = self.service.made
        return len({(one.name, one.ledger_id if apart else "") for one in made}) < len(made)


def step(schedule: Schedule, random: Random) -> None:
    """One step, by chance, of those that are possible now."""
    if random.random() < 0.1:
        random.choice((schedule.copy, schedule.copy, lambda: go_back(schedule, random), schedule.use_other_ledger))()
        return
    process = schedule.process
    if process is None:
        random.choice((schedule.start, schedule.start, lambda: schedule.wait(random.choice((1.0, 100.0, 400.0)))))()
        return
    actions: list[Callable[[], object]] = [lambda: schedule.wait(random.choice((0.1, 3.0, 20.0, 60.0, 300.0)))]
    if random.random() < 0.06:
        actions = [random.choice((schedule.crash, schedule.crash, schedule.restart_machine))]
    elif process.queue and process.listed is None:
        lag_s, complete = random.uniform(0.0, LAG_S), random.random() < 0.9
        actions += [lambda: schedule.contact(lag_s=lag_s, complete=complete)] * 4
    elif process.queue:
        actions += [schedule.intend] * 4
    if process.intended:
        actions += [lambda: schedule.look(random.choice(list(process.intended)))] * 4
    if process.ready:
        actions += [lambda: send(schedule, random.choice(process.ready), random)] * 4
    if process.calls:
        actions += [lambda: schedule.receive(random.choice(list(process.calls)))] * 3
    if schedule.may_sweep:
        lag_s, complete = random.uniform(0.0, LAG_S), random.random() < 0.8
        actions += [lambda: schedule.sweep(lag_s=lag_s, complete=complete)] * 3
    random.choice(actions)()


def go_back(schedule: Schedule, random: Random) -> None:
    """A ledger goes back to one of its copies, if there is any."""
    if schedule.copies:
        schedule.go_back(random.randrange(len(schedule.copies)))


def send(schedule: Schedule, name: str, random: Random) -> None:
    """A create leaves to a fate by chance."""
    effect_s = random.choice((0.0, random.uniform(0.0, EXECUTION_S), EXECUTION_S))
    fate = random.random()
    if fate < 0.25:
        schedule.send(name, 0.0, None)
    elif fate < 0.35:
        schedule.send(name, None, random.choice(HARMLESS))
    elif fate < 0.4:
        schedule.send(name, None, Reply(status=409, code="ConflictException"))
    else:
        schedule.send(name, random.choice((effect_s, effect_s, None)), random.choice(LOST))


def run(seed: int, steps: int = 40, flaw: Flaw = "") -> str:
    """The schedule of ``seed``, to its end: what is wrong then, "" for nothing."""
    random = Random(seed)  # noqa: S311  replayable
    names: Names = random.choice(("unique", "duplicates", "same"))
    configured: Any = random.choice(("unknown", names))
    if flaw:
        names, configured = "duplicates", "unknown"
    schedule = Schedule(names, make_policy(names=configured), random.randint(1, 3), flaw)
    for _ in range(steps):
        step(schedule, random)
        schedule.service.advance(schedule.now)
    schedule.finish()
    return schedule.verdict()


def explore(count: int, seed: int, flaw: Flaw = "") -> Counter[str]:
    """What is wrong at the end of each of ``count`` schedules from ``seed`` on."""
    return Counter(run(number, flaw=flaw) or "right" for number in range(seed, seed + count))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--controls", type=int, default=3_000)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    began = time.perf_counter()
    found = explore(given.count, given.seed)
    took = time.perf_counter() - began
    print(f"schedules, seed {given.seed}: {dict(found)}; {given.count / took:.0f} a second")  # noqa: T201
    flaws: tuple[Flaw, ...] = get_args(Flaw)[1:]
    for flaw in flaws:
        print(f"control, {flaw}: {dict(explore(given.controls, given.seed, flaw))}")  # noqa: T201


if __name__ == "__main__":
    main()
