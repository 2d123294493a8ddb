"""The benchmark against scikit-learn times equal work."""

import pytest

from benchmarks import against_scikit_learn


@pytest.mark.slow
def test_the_work_is_the_same():
    result = against_scikit_learn.compare(60, 12, 1)
    assert [row["method"] for row in result["rows"]] == ["1-NN", "LogReg", "SVM"]
    for row in result["rows"]:
        assert row["ours"] > 0 and row["theirs"] > 0 and row["equal_answers"] > 0.97
        if "objective" in row:
            assert row["objective"] <= 1.001 * row["their_objective"]
    assert "| LogReg |" in against_scikit_learn.table(result)
