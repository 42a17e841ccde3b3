"""The covers plugin fails a full CI run that did not prove what is required, and no other run."""

from __future__ import annotations

import pytest

PASSES_F1 = """
    import pytest

    @pytest.mark.covers("F1", "I6")
    def test_one(): pass
"""
CLAIMS_F2 = """
    import pytest

    @pytest.mark.covers("F2")
    def test_fails(): assert False

    @pytest.mark.covers("F3")
    def test_skips(): pytest.skip("no node")

    @pytest.mark.covers("F4")
    @pytest.mark.xfail(strict=False)
    def test_passes_by_accident(): pass

    @pytest.fixture
    def breaks():
        yield
        raise ValueError

    @pytest.mark.covers("F5")
    def test_cannot_clean_up(breaks): pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite of its own that must cover F1 and I6, in CI."""
    monkeypatch.setenv("CI", "true")
    pytester.makeini("[pytest]\ntestpaths = checks\nmarkers = covers(*ids): what it proves")
    pytester.makeconftest("""
        import tests.covers

        tests.covers.REQUIRED = frozenset({"F1", "I6"})
        pytest_plugins = ["tests.covers"]
    """)
    pytester.mkdir("checks")
    return pytester


def add(suite: pytest.Pytester, name: str, source: str) -> None:
    suite.makepyfile(**{f"checks/{name}": source})


PROCESSES = pytest.mark.parametrize("processes", [[], ["-n", "2"]], ids=["one process", "xdist"])


@PROCESSES
def test_a_full_run_that_proves_everything_passes(suite: pytest.Pytester, processes: list[str]) -> None:
    add(suite, "test_all", PASSES_F1)
    result = suite.runpytest_subprocess(*processes)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK


@PROCESSES
def test_a_full_run_that_does_not_fails_and_names_what_is_missing(suite: pytest.Pytester, processes: list[str]) -> None:
    add(suite, "test_all", PASSES_F1.replace('"F1", ', ""))
    result = suite.runpytest_subprocess(*processes)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*not covered by any passed test*", "F1"])


@PROCESSES
def test_only_a_test_that_passed_from_end_to_end_proves_anything(suite: pytest.Pytester, processes: list[str]) -> None:
    add(suite, "test_all", CLAIMS_F2)
    suite.makeconftest("""
        import tests.covers

        tests.covers.REQUIRED = frozenset({"F2", "F3", "F4", "F5"})
        pytest_plugins = ["tests.covers"]
    """)
    result = suite.runpytest_subprocess(*processes)
    result.stdout.fnmatch_lines(["F2 F3 F4 F5"])


@pytest.mark.parametrize("narrowed", [["-k", "one"], ["-m", "covers"], ["checks/test_all.py"], ["--deselect", "x"]])
def test_a_narrowed_run_need_not_prove_everything(suite: pytest.Pytester, narrowed: list[str]) -> None:
    add(suite, "test_all", PASSES_F1.replace('"F1", ', ""))
    assert suite.runpytest_subprocess(*narrowed).ret == pytest.ExitCode.OK


def test_a_laptop_need_not_prove_everything(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI")
    add(suite, "test_all", PASSES_F1.replace('"F1", ', ""))
    assert suite.runpytest_subprocess().ret == pytest.ExitCode.OK


def test_a_mark_without_ids_is_an_error(suite: pytest.Pytester) -> None:
    add(suite, "test_all", PASSES_F1.replace('"F1", "I6"', ""))
    result = suite.runpytest_subprocess()
    assert result.ret != pytest.ExitCode.OK
    result.stderr.fnmatch_lines(["*covers() takes one or more ids*"])
