from nas.long_work.bad_steps import BadSteps


def test_so_many_in_a_row_are_too_many_and_a_good_one_begins_the_count_anew() -> None:
    bad = BadSteps(limit=2)
    assert [bad.count(is_good=one) for one in (False, True, False, False)] == [False, False, False, True]
    assert bad.num_skipped == 3
