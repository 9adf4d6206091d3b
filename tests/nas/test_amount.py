import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.amount import Amount, AmountError, parse_amount, parse_duration_s


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("4.1ms", "s", 0.0041),
        ("250 us", "s", 250e-6),
        ("250µs", "s", 250e-6),
        ("2", "s", 2.0),
        (0.5, "s", 0.5),
        ("4M", "parameters", 4e6),
        ("1.5B", "parameters", 1.5e9),
        ("2T", "flops", 2e12),
        ("1e3k", "flops", 1e6),
        ("1.5GiB", "bytes", 1.5 * 2**30),
        ("1.5GB", "bytes", 1.5e9),
        ("3B", "bytes", 3.0),
        (".8", "accuracy", 0.8),
    ],
)
def test_absolute_amount(text: str | float, unit: str, expected: float) -> None:
    assert parse_amount(text).absolute(unit, supernet=1e9) == pytest.approx(expected)


def test_relative_amount_is_a_share_of_the_supernets() -> None:
    amount = parse_amount("0.6x")
    assert amount.is_relative
    assert amount.absolute("s", supernet=0.005) == pytest.approx(0.003)
    assert not parse_amount("0.6").is_relative


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False), st.sampled_from(["", "x", "ms", "B", "GiB"]))
def test_written_amount_reads_as_the_same(number: float, suffix: str) -> None:
    amount = Amount(number=number, suffix=suffix)
    assert parse_amount(str(amount)) == amount


def test_written_amount_is_what_people_write() -> None:
    assert [str(parse_amount(text)) for text in ("4.1ms", "0.6 x", 2523648, "4M")] == ["4.1ms", "0.6x", "2523648", "4M"]


@pytest.mark.parametrize("text", ["", "fast", "-1ms", "0x", "1,5ms", "1e999", "nan", "inf", "ms", "1.2.3", True])
def test_no_amount(text: str) -> None:
    with pytest.raises(AmountError, match=r"must be a positive number with a unit, got .*; write 4\.1ms"):
        parse_amount(text)


@pytest.mark.parametrize(
    ("text", "unit", "known"),
    [("4MB", "s", "s, ms, us, µs, x or"), ("4ms", "accuracy", "in accuracy must end in x or")],
)
def test_suffix_of_another_unit(text: str, unit: str, known: str) -> None:
    with pytest.raises(AmountError, match=f"{known} nothing, got '{text}'"):
        parse_amount(text).absolute(unit, supernet=1.0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), (90, 90), ("20m", 1200), ("20min", 1200), ("1.5h", 5400), ("0.5", 0.5)]
)
def test_duration(text: str | float, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["soon", "3d", "0.6x", "0s"])
def test_no_duration(text: str) -> None:
    with pytest.raises(AmountError, match=f"A duration must be a positive number .* got '{text}'; write 90s"):
        parse_duration_s(text)
