"""How the weight was chosen: on parts of the training set, never on the test set.

    python experiments/regularised_digits/select_weight.py

Holds a quarter of the 1,347 training digits out, three times, and prints what each weight gives on
them. Writes `selection.json` into `--out`.
"""

import argparse
from pathlib import Path

import numpy as np

from geojax import io
from geojax.training import TrainConfig, evaluate, fit, load_digits_split, stratified_split

HERE = Path(__file__).parent
WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
FOLDS = (100, 101, 102)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "outcome", help="folder to write in")
    options = parser.parse_args()
    training = load_digits_split().train
    folds = [stratified_split(training, test_fraction=0.25, seed=seed) for seed in FOLDS]
    rows = []
    for weight in WEIGHTS:
        figures = [
            evaluate(fit(fold.train, TrainConfig(energy_weight=weight, seed=seed)).model, fold.test)
            .figures()
            for seed, fold in enumerate(folds)
        ]  # fmt: skip
        row = {"energy_weight": weight}
        for key in ("accuracy", "energy", "num_evaluations"):
            values = [figure[key] for figure in figures]
            row[key], row[f"{key}_spread"] = float(np.mean(values)), float(np.std(values, ddof=1))
        rows.append(row)
        print(
            f"weight {weight:<5g} accuracy {100 * row['accuracy']:.2f} ± "
            f"{100 * row['accuracy_spread']:.2f} %, energy {row['energy']:.4g}, evaluations "
            f"{row['num_evaluations']:.2f}",
            flush=True,
        )
    options.out.mkdir(parents=True, exist_ok=True)
    io.write_json(options.out / "selection.json", {"folds": list(FOLDS), "rows": rows})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
