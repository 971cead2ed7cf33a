"""A keeper owns a run from start to result, whoever dies in between; nothing outlives its run."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clawd.adapters import cage, process
from clawd.errors import ClawdError, Refused
from clawd.running import launch
from clawd.running.launch import Launch, Limits, Result, Secret, Why

PRICES = {"model-a": {"in": 3_000_000, "out": 15_000_000, "write_5m": 3_750_000,
                      "write_1h": 6_000_000, "read": 300_000}}  # fmt: skip

# Three ways to get away from one's parent; each process writes to nobody.
ESCAPE = """
sleep 300 >/dev/null 2>&1 &
nohup setsid sleep 300 >/dev/null 2>&1 &
python3 -I -S -c 'import os,time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
time.sleep(300)' >/dev/null 2>&1
"""

# Speaks stream-json: one assistant message a turn, the usage given by the arguments.
AGENT = r"""
import json, sys, time
turns, tokens, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
def say(**event): print(json.dumps(event), flush=True)
say(type="system", subtype="init", session_id="s")
for n in range(turns):
    for part in (1, 2):
        usage = {"input_tokens": 10, "output_tokens": tokens if part == 2 else 1}
        say(type="assistant", message={"id": f"m{n}", "model": "model-a", "usage": usage,
            "content": [{"type": "text", "text": "working"}]})
    time.sleep(pause)
say(type="result", subtype="success", is_error=False)
"""


@dataclass(slots=True)
class Bench:
    """One folder for runs, and the marker that all of them carry."""

    root: Path
    marker: str
    caged: bool
    count: int = 0

    def launch(self, *argv: str, **more: object) -> Launch:
        self.count += 1
        (self.root / "agent.py").write_text(AGENT)
        spec = None
        if self.caged:
            spec = cage.CageSpec(
                workspace=self.root / "work",
                home=self.root / "home",
                read_only=((self.root / "agent.py", "/clawd/agent.py"),),
            )
        given = {"env": {"HOME": str(self.root / "home")}, "cwd": self.root / "work", **more}
        folder = self.root / f"run-{self.count}"
        return Launch(folder=folder, marker=self.marker, argv=argv, cage=spec, **given)  # type: ignore[arg-type]

    def shell(self, command: str, **more: object) -> Launch:
        return self.launch("/bin/sh", "-c", command, **more)

    def agent(self, turns: int, tokens: int, pause_s: float, **more: object) -> Launch:
        script = "/clawd/agent.py" if self.caged else str(self.root / "agent.py")
        return self.launch("python3", script, str(turns), str(tokens), str(pause_s), **more)

    def left(self) -> dict[int, str]:
        return process.find_marked(self.marker)


@pytest.fixture(params=["cage", "none"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "cage":
        found = cage.probe()
        if not found.ok and (sys.platform != "linux" or not os.environ.get("CI")):
            pytest.skip(f"no cage here: {found.reason}")
    for name in ("work", "home"):
        (tmp_path / name).mkdir()
    made = Bench(tmp_path, f"test-{uuid.uuid4().hex}", request.param == "cage")
    yield made
    for folder in tmp_path.glob("run-*"):
        state = launch.look(folder)
        if isinstance(state, launch.Alive) and state.keeper:
            process.signal_process(state.keeper, signal.SIGKILL)
    process.kill_marked(made.marker)


def until(true: Callable[[], object], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ended(asked: Launch, timeout_s: float = 20) -> Result:
    result = launch.wait(asked.folder, timeout_s, threading.Event())
    assert result is not None, "the run did not end"
    return result


def go(asked: Launch) -> Result:
    launch.start(asked)
    return ended(asked)


def keeper_of(asked: Launch) -> process.Identity:
    state = launch.look(asked.folder)
    assert isinstance(state, launch.Alive)
    assert state.keeper is not None
    return state.keeper


def stream(asked: Launch) -> str:
    return (asked.folder / "stream.jsonl").read_text("utf-8", "replace")


def test_a_run_reads_its_prompt_and_leaves_its_output_and_result(bench: Bench) -> None:
    asked = bench.shell("cat; echo oops >&2; exit 3", stdin_text="Role: dev\ngrüße")
    result = go(asked)
    assert (result.rc, result.why, result.started, result.reason) == (3, Why.EXIT, True, "")
    assert stream(asked) == "Role: dev\ngrüße"
    assert (asked.folder / "stderr.txt").read_text() == "oops\n"
    assert asked.folder.stat().st_mode & 0o777 == 0o700
    assert result.ended_at >= result.started_at
    assert result.wall_ms < 5000


@pytest.mark.parametrize("end", ["exit 0", "sleep 300"])
def test_what_escaped_its_parent_is_gone_at_the_end(bench: Bench, end: str) -> None:
    asked = bench.shell(ESCAPE + "echo ready;" + end)
    launch.start(asked)
    if end.startswith("sleep"):
        until(lambda: "ready" in stream(asked))
        launch.stop(asked.folder, "cancelled by the operator")
    result = ended(asked)
    wanted = (Why.STOPPED, "cancelled by the operator") if "sleep" in end else (Why.EXIT, "")
    assert (result.why, result.reason) == wanted
    assert bench.left() == {}


def test_without_a_cage_even_a_process_that_cleared_its_environment_is_found(
    bench: Bench,
) -> None:
    asked = bench.shell("(env -i setsid sleep 300 >/dev/null 2>&1 & echo $!) ; exit 0")
    result = go(asked)
    pid = int(stream(asked))
    if not bench.caged:
        assert result.swept >= 1
        assert process.identity(pid) is None


def test_kill_9_of_the_keeper_leaves_a_lost_run_and_no_process(bench: Bench) -> None:
    asked = bench.shell(ESCAPE + "echo ready; sleep 300")
    launch.start(asked)
    until(lambda: "ready" in stream(asked))
    keeper = keeper_of(asked)
    process.signal_process(keeper, signal.SIGKILL)
    until(lambda: isinstance(launch.look(asked.folder), launch.Lost))
    if bench.caged:
        until(lambda: not bench.left(), timeout_s=2)
    assert ended(asked).why is Why.LOST
    assert bench.left() == {}, "whatever had no cage was swept"


def test_kill_9_of_the_command_is_an_ended_run(bench: Bench) -> None:
    asked = bench.shell("echo $$; sleep 300 & wait")
    launch.start(asked)
    until(lambda: "\n" in stream(asked))
    identity = json.loads((asked.folder / "keeper.json").read_text())
    assert process.alive(identity["child"], identity["child_start"])
    os.kill(identity["child"], signal.SIGKILL)
    result = ended(asked)
    assert (result.rc, result.why) == (137, Why.EXIT)
    assert bench.left() == {}


def test_the_run_goes_on_to_its_result_when_its_starter_is_killed(bench: Bench) -> None:
    asked = bench.shell("sleep 0.7; echo finished")
    code = (
        "import pickle, sys, time\nfrom clawd.running import launch\n"
        "launch.start(pickle.load(sys.stdin.buffer))\nprint('started', flush=True)\ntime.sleep(60)"
    )
    daemon = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    try:
        assert daemon.stdin
        assert daemon.stdout
        daemon.stdin.write(pickle.dumps(asked))
        daemon.stdin.close()
        assert daemon.stdout.readline() == b"started\n"
    finally:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()
        daemon.stdout.close()
    assert isinstance(launch.look(asked.folder), launch.Alive)
    assert ended(asked).rc == 0
    assert stream(asked) == "finished\n"


@pytest.mark.parametrize(
    ("limits", "agent", "why"),
    [
        (Limits(wall_s=0.6), (100, 1, 0.05), Why.WALL),
        (Limits(idle_s=0.6), (2, 1, 60), Why.IDLE),
        (Limits(turns=3), (100, 1, 0.2), Why.TURNS),
        (Limits(money_micros=2000), (100, 50, 0.2), Why.MONEY),
        (Limits(stream_bytes=5000), (10_000, 1, 0.001), Why.FLOOD),
    ],
)
def test_every_limit_ends_the_run_and_says_so(
    bench: Bench, limits: Limits, agent: tuple[int, int, float], why: Why
) -> None:
    asked = bench.agent(*agent, limits=limits, prices=PRICES)
    result = go(asked)
    assert result.why is why, result
    assert result.reason
    assert result.rc in (143, 137)
    assert bench.left() == {}
    if why is Why.MONEY:
        assert 2000 < result.cost_micros < 2000 + 6 * 800
    if why is Why.FLOOD:
        assert len(stream(asked)) <= 5000


def test_turns_and_money_of_a_finished_run_are_counted_exactly(bench: Bench) -> None:
    result = go(bench.agent(4, 100, 0, prices=PRICES, limits=Limits(turns=4)))
    assert (result.why, result.rc, result.turns) == (Why.EXIT, 0, 4)
    assert result.cost_micros == 4 * (10 * 3 + 100 * 15)


def test_a_command_that_ignores_the_polite_end_is_killed_after_the_grace(bench: Bench) -> None:
    asked = bench.shell("trap '' TERM; echo ready; while :; do sleep 0.1; done", grace_s=0.4)
    launch.start(asked)
    until(lambda: "ready" in stream(asked))
    launch.stop(asked.folder, "enough")
    result = ended(asked)
    assert (result.why, result.reason, result.rc) == (Why.STOPPED, "enough", 137)
    assert bench.left() == {}


def test_the_polite_end_reaches_the_command_itself(bench: Bench) -> None:
    asked = bench.shell("trap 'echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
    launch.start(asked)
    until(lambda: "ready" in stream(asked))
    process.signal_process(keeper_of(asked), signal.SIGTERM)
    assert ended(asked).why is Why.STOPPED
    assert stream(asked) == "ready\ntidied\n"


def test_the_freeze_file_kills_at_once(bench: Bench, tmp_path: Path) -> None:
    freeze = tmp_path / "freeze"
    command = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    asked = bench.shell(command, freeze_file=freeze, grace_s=30)
    launch.start(asked)
    until(lambda: "ready" in stream(asked))
    freeze.touch()
    began = time.monotonic()
    assert ended(asked).why is Why.FROZEN
    assert time.monotonic() - began < 1.5
    blocked = bench.shell("echo never", freeze_file=freeze)
    result = go(blocked)
    assert result.why is Why.FROZEN
    assert not result.started, "the gate never opened"
    assert stream(blocked) == ""


def test_a_run_ends_when_no_daemon_beats_any_more(bench: Bench, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    beat.touch()
    asked = bench.shell("sleep 300", beat_file=beat, no_daemon_s=1)
    launch.start(asked)
    for _ in range(6):
        time.sleep(0.25)
        os.utime(beat)
    assert isinstance(launch.look(asked.folder), launch.Alive)
    assert ended(asked).why is Why.NO_DAEMON


def test_a_broken_stream_is_counted_as_far_as_it_can_be(bench: Bench) -> None:
    def message(ident: str, **usage: object) -> bytes:
        body = {"id": ident, "model": "model-a", "usage": usage, "content": []}
        return json.dumps({"type": "assistant", "message": body}).encode() + b"\n"

    start = {"type": "message_start", "message": {"id": "s1", "model": "model-a-20990101",
             "usage": {"input_tokens": 5, "output_tokens": 1}}}  # fmt: skip
    delta = {"type": "message_delta", "usage": {"output_tokens": 40}}
    text = {"id": "t", "model": "model-a", "content": [{"type": "text", "text": "x" * 400}]}
    (bench.root / "work" / "raw").write_bytes(
        message("a", input_tokens=1, output_tokens=10)
        + b"\xff\xfe\x00 not text\n\0\0\0\n\n"
        + b'{"type":"assistant","message":{"id":"huge","x":"'
        + b"y" * 3_000_000
        + b'"}}\n'
        + b'{"type":"assistant","message":[1]}\n{"type":"assistant"}\n["assistant"]\n'
        + b'"assistant"' + b"[" * 50_000 + b"\n"
        + message("a", input_tokens="many", output_tokens=-5)
        + b'{"type":"assistant","message":{"id":"nul","usage":{"output_tokens":7},"x":"\xff"}}\n'
        + json.dumps({"type": "stream_event", "event": start}).encode() + b"\n"
        + json.dumps({"type": "stream_event", "event": delta}).encode() + b"\n"
        + json.dumps({"type": "assistant", "message": text}).encode() + b"\n"
        + message("torn", output_tokens=1000)[:-20]
    )  # fmt: skip
    result = go(bench.shell("cat raw", prices=PRICES))
    assert (result.why, result.rc) == (Why.EXIT, 0)
    assert result.turns == 4, "a, nul, s1, t: not the huge one and not the torn one"
    assert result.cost_micros == (1 * 3 + 10 * 15) + 7 * 15 + (5 * 3 + 40 * 15) + 100 * 15


def test_the_login_is_handed_over_by_descriptor_and_shown_nowhere(
    bench: Bench, tmp_path: Path
) -> None:
    token = f"sk-{uuid.uuid4().hex}"
    (tmp_path / "agent.env").write_text(f"# mine\nexport TOKEN='{token}'\n")
    secret = Secret(tmp_path / "agent.env", "TOKEN", "TOKEN_FILE_DESCRIPTOR")
    command = (
        "cat <&$TOKEN_FILE_DESCRIPTOR; exec 6<&-; echo; env; cat /proc/self/environ; sleep 0.5"
    )
    asked = bench.shell(command, secret=secret)
    launch.start(asked)
    until(lambda: "HOME" in stream(asked))
    shown = subprocess.run(["ps", "axeww"], capture_output=True, check=True).stdout.decode()
    assert token not in shown
    assert ended(asked).rc == 0
    first, rest = stream(asked).split("\n", 1)
    assert first == token
    assert token not in rest
    for file in ("spec.json", "keeper.json", "result.json", "prompt.md"):
        assert token not in (asked.folder / file).read_text()


def test_a_login_without_a_descriptor_falls_back_to_a_variable(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "agent.env").write_text("TOKEN=abc\n")
    asked = bench.shell(
        "echo $TOKEN", secret=Secret(tmp_path / "agent.env", "TOKEN", None, "TOKEN")
    )
    go(asked)
    assert stream(asked) == "abc\n"
    assert "abc" not in (asked.folder / "spec.json").read_text()


def test_a_command_that_cannot_start_is_told_from_one_that_failed(bench: Bench) -> None:
    result = go(bench.launch("/nowhere/claude", "-p"))
    assert (result.rc, result.why, result.started) == (127, Why.EXIT, True)
    broken = bench.shell("true", cwd=bench.root / "gone")
    (bench.root / "agent.py").unlink()
    result = go(broken)
    assert (result.why, result.started) == (Why.CAGE, False)
    assert ("Can't find source path" if bench.caged else "No such file") in result.reason


def test_the_daemon_is_woken_at_start_first_line_and_end(bench: Bench) -> None:
    with (
        tempfile.TemporaryDirectory() as short,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear,
    ):
        ear.bind(f"{short}/wake")
        ear.settimeout(5)
        asked = bench.shell("sleep 0.2; echo first; sleep 0.2", wake_socket=Path(f"{short}/wake"))
        launch.start(asked)
        heard = [ear.recv(100) for _ in range(3)]
        assert heard == [asked.folder.name.encode()] * 3
        assert ended(asked).rc == 0


def test_a_run_folder_is_used_once_and_held_by_one(bench: Bench) -> None:
    asked = bench.shell("sleep 300")
    launch.start(asked)
    with pytest.raises(Refused, match="already held"):
        launch.start(asked)
    second = subprocess.run(
        [sys.executable, "-I", "-S", str(launch.KEEPER), str(asked.folder)],
        check=False, timeout=20,
    )  # fmt: skip
    assert second.returncode == 0, "it detaches first"
    time.sleep(1.5)
    assert isinstance(launch.look(asked.folder), launch.Alive)
    assert len((asked.folder / "stream.jsonl").read_bytes()) == 0
    launch.stop(asked.folder, "over")
    assert ended(asked).why is Why.STOPPED
    with pytest.raises(Refused, match="used before"):
        launch.start(asked)


def test_looking_at_nothing_is_missing_and_waiting_for_it_an_error(bench: Bench) -> None:
    folder = bench.root / "never"
    assert isinstance(launch.look(folder), launch.Missing)
    with pytest.raises(ClawdError, match="no run"):
        launch.wait(folder, 1, threading.Event())


def test_waiting_ends_when_the_daemon_stops_and_the_run_goes_on(bench: Bench) -> None:
    asked = bench.shell("sleep 300")
    launch.start(asked)
    stopping = threading.Event()
    threading.Timer(0.2, stopping.set).start()
    began = time.monotonic()
    assert launch.wait(asked.folder, 60, stopping) is None
    assert time.monotonic() - began < 1
    assert isinstance(launch.look(asked.folder), launch.Alive)


def test_a_shell_command_returns_the_tail_of_both_outputs_in_order(bench: Bench) -> None:
    command = "echo one; echo two >&2; printf 'x%.0s' $(seq 3000); printf '\\377\\000end'; exit 5"
    done = launch.run_command(command, bench.shell(""), threading.Event(), tail_bytes=1000)
    assert not done.ok
    assert done.result.rc == 5
    assert len(done.output) == 1000
    assert done.output.endswith("x\ufffd\ufffdend")
    short = launch.run_command(
        "echo one; echo two >&2; echo three", bench.shell(""), threading.Event()
    )
    assert short.ok
    assert short.output == "one\ntwo\nthree\n"
    with pytest.raises(Refused, match="too long"):
        launch.run_command("true " * 30_000, bench.shell(""), threading.Event())


def test_a_shell_command_is_ended_when_the_daemon_stops(bench: Bench) -> None:
    stopping = threading.Event()
    threading.Timer(0.3, stopping.set).start()
    done = launch.run_command("sleep 300", bench.shell(""), stopping)
    assert done.result.why is Why.STOPPED
    assert bench.left() == {}


def test_a_keeper_killed_while_it_starts_lets_no_command_live(bench: Bench) -> None:
    for n in range(20):
        asked = bench.shell("echo began; sleep 300")
        starter = threading.Thread(target=_start_quietly, args=(asked,))
        starter.start()
        identity = asked.folder / "keeper.json"
        until(identity.exists)
        time.sleep(n * 0.002)
        os.kill(json.loads(identity.read_text())["pid"], signal.SIGKILL)
        starter.join(20)
        assert ended(asked).why is Why.LOST
        assert bench.left() == {}


def _start_quietly(asked: Launch) -> None:
    try:
        launch.start(asked)
    except ClawdError:
        return
