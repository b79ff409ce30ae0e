"""What a model can do whose session has been stopped; the last file here, for it stops that."""

import numpy as np
import pytest

from skglrm import Entries, ImplicitALS
from skglrm._spark.errors import SparkBackendError


def test_a_model_outlives_its_session(spark, tmp_path):
    rows = [(i % 7, i % 5, 1.0 + i % 3) for i in range(30)]
    frame = spark.createDataFrame(rows, ["user", "item", "plays"])
    entries = Entries.from_spark(frame, row="user", col="item", value="plays")
    local = entries.collect()
    X = local.to_csr()
    model = ImplicitALS(2, backend="spark", max_iter=2, random_state=0).fit(entries)
    before, factors = model.components_.copy(), model.transform(X)
    lists = model.recommend(local, n=2)
    spark.stop()

    assert np.isfinite(model.predict_entries([0, 1], [1, 2])).all()
    np.testing.assert_array_equal(model.recommend(local, n=2), lists)
    assert len(model.similar_items(n=2)[0]) == 5
    model.save(tmp_path / "model")
    with pytest.raises(SparkBackendError, match="session of these entries has been stopped"):
        model.fit(entries)
    np.testing.assert_array_equal(model.components_, before)

    # With none, a new one is made.
    np.testing.assert_array_equal(model.transform(X), factors)
    another = type(spark).active()
    assert another.sparkContext is not spark.sparkContext
    np.testing.assert_array_equal(model.fit(local).components_, before)
    another.stop()
