"""The README's recipes for Ray Data and Spark, as they stand there: their totals are those of the rows in memory.

Needs Java and ``pip install pyspark pandas pyarrow "ray[data]"``.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import crossent
import numpy as np
import pandas
import ray
from pyspark.sql import SparkSession

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
ROWS, CLASSES, PARTS = 20_000, 10, 8


def main() -> None:
    """Stop at the first that differs."""
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(ROWS, CLASSES)), rng.integers(CLASSES, size=ROWS)
    expected = crossent.Totals.of(crossent.score(logits, target))
    table = pandas.DataFrame({"logits": logits.tolist(), "target": target})
    names: dict[str, Any] = {"pandas": pandas, "dataset": ray.data.from_pandas(table).repartition(PARTS)}
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = SparkSession.builder.master("local[2]").getOrCreate()
    names["dataframe"] = spark.createDataFrame(table).repartition(PARTS)
    (functions,) = (text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "def totals_in" in text)
    exec(functions, names)
    for library, recipe in re.findall(r"^- (Ray Data|Spark): `(.*)`$", README, re.MULTILINE):
        found = eval(recipe, names)
        print(f"{library}: {found}, equal to the rows in memory: {found == expected}")
        assert found == expected
    spark.stop()


if __name__ == "__main__":
    main()
