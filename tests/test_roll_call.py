"""The roll call of the processes of a job: threads on loopback stand for them."""

import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fashion_jax.devices.job import Job
from fashion_jax.devices.roll_call import call_roll
from fashion_jax.errors import RunError
from tests.loopback import free_port


@pytest.fixture
def port():
    return free_port()


def called(*jobs, timeout=120.0, failures=None):
    """Returns what each process is told: a sentence, or "" if it may go on."""

    def told(job):
        try:
            for connection in call_roll(job, timeout, (failures or {}).get(job.index, "")).values():
                connection.close()
        except RunError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(told, jobs))


def jobs_of(port, count=3, host="127.0.0.1"):
    return [Job(host, port, count, index) for index in range(count)]


def test_processes_that_agree_go_on(port):
    assert called(*jobs_of(port)) == ["", "", ""]
    assert called(*jobs_of(port)) == ["", "", ""]  # the port is free again at once


def test_one_process_needs_no_call(port):
    with socket.create_server(("127.0.0.1", port)):
        call_roll(Job("nowhere.invalid", port, 1, 0), 0.1)


def test_a_missing_process_is_named_to_all_that_came(port):
    zero, two = called(*jobs_of(port)[::2], timeout=1.0)
    assert zero == two
    assert re.search(rf"Process 1 of 3 has not reported to process 0 at 127.0.0.1:{port} within", zero)
    assert "--initialization-timeout" in zero


def test_a_port_in_use(port):
    with socket.create_server(("", port)):
        (zero,) = called(jobs_of(port)[0])
    assert re.match(
        rf"Process 0 cannot listen on port {port} of .*, which another program, or another process 0, uses: ", zero
    )


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "nothing answers there"),
        ("nowhere.invalid", "its name is not known"),
        ("node..cluster", "it is no name of a host"),
    ],
)
def test_process_0_cannot_be_reached(port, host, reason):
    (one,) = called(jobs_of(port, host=host)[1], timeout=0.5)
    assert one.startswith(f"Process 1 of 3 has not reached process 0 at {host}:{port} within 0 s ({reason}")


def answer_as_ssh(server, has_ended):
    while not has_ended.is_set():
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_another_program_answers(port):
    has_ended = threading.Event()
    with socket.create_server(("127.0.0.1", port)) as server:
        thread = threading.Thread(target=answer_as_ssh, args=(server, has_ended), daemon=True)
        thread.start()
        (one,) = called(jobs_of(port)[1], timeout=0.5)
        has_ended.set()
        socket.create_connection(("127.0.0.1", port)).close()  # the last one that it accepts
        thread.join()
    assert "what answers there is not process 0 of this job" in one


def test_strangers_are_passed_over(port):
    def disturb():
        for data in (b"GET / HTTP/1.1\r\n\r\n", b'{"program": "another"}\n', b'{"program": "fashion_jax"}\n'):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(data)

    with ThreadPoolExecutor(2) as pool:
        zero = pool.submit(called, jobs_of(port, count=2)[0])
        while True:
            try:
                disturb()
                break
            except ConnectionRefusedError:
                pass
        assert called(jobs_of(port, count=2)[1]) == [""]
        assert zero.result() == [""]


def test_numbers_that_do_not_fit(port):
    host = "127.0.0.1"
    assert {*called(Job(host, port, 2, 0), Job(host, port, 3, 1))} == {
        "Process 1 was started as one of 3 processes, but process 0 as one of 2: start all with the same number of "
        "processes."
    }
    twice = called(Job(host, port, 3, 0), Job(host, port, 3, 1), Job(host, port, 3, 1))
    assert all(told.startswith("Two processes have the number 1 of 3") for told in twice)


@pytest.mark.parametrize("failing", [0, 1])
def test_all_are_told_why_one_cannot_start(port, failing):
    told = called(*jobs_of(port), failures={failing: "There is no field 'lr' in the config."})
    assert told.pop(failing) == ""  # it has its own error to report
    assert told == [f"Process {failing} could not start: There is no field 'lr' in the config."] * 2
