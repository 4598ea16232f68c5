"""A class of the author's own, in a bundle; and the example of one."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Format, TensorSpec
from tidegate_contract.failure import BundleError
from tidegate_server.loader import load_model
from tidegate_server.offline.errors import ModelError, PackError
from tidegate_server.offline.pack import pack
from tidegate_server.outputs import InvalidOutputError

ROWS = pd.DataFrame({"x": np.linspace(-2, 2, 40), "carrier": ["UA", None] * 20})
CLASS = """
from pathlib import Path
import numpy as np
from .steps.scale import scaled

class Model:
    '''Scales, and answers.'''
    classes_ = ["no", "yes"]

    def load(self, directory):
        self.factor = float((directory / "factor.txt").read_text())

    def predict(self, inputs):
        chance = np.clip(scaled(inputs["x"], self.factor), 0, 1)
        inputs["x"][:] = 0
        return {
            "predict": np.where(chance > 0.5, "yes", "no"),
            "predict_proba": np.column_stack([1 - chance, chance]),
            "known": [carrier is not None for carrier in inputs["carrier"].tolist()],
        }
"""
FILES = {
    "model.py": CLASS,
    "steps/scale.py": "def scaled(x, factor):\n    return x * factor\n",
    "factor.txt": "0.5",
    ".hidden": "secret",
    "__pycache__/model.cpython-311.pyc": "old",
}


def folder(path: Path, **changes: str) -> Path:
    """A folder with FILES; a change replaces a file, by its name without what follows the point."""
    for name, content in FILES.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(changes.get(name.rsplit("/")[-1].split(".")[0], content))
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return pack(folder(tmp_path / "made"), ROWS, tmp_path / "bundle").directory


def asked(bundle: Path, x: float, *outputs: str) -> dict[str, Any]:
    engine = load_model(bundle, None, allow_pickle=True).engine
    found = engine.predict({"x": np.array([x]), "carrier": np.array(["UA"], object)}, outputs)
    return {name: array.tolist() for name, array in found.items()}


def test_the_folder_is_the_model(bundle: Path) -> None:
    loaded = load_model(bundle, None, allow_pickle=True)
    manifest = loaded.manifest
    assert (manifest.format, manifest.model_file, manifest.name) == (Format.PYTHON, "model/model.py", "made")
    assert set(manifest.files) == {"model/model.py", "model/steps/scale.py", "model/factor.txt", "profile.json"}
    assert manifest.signature.outputs == (
        TensorSpec("predict", Datatype.BYTES, (-1,)),
        TensorSpec("predict_proba", Datatype.FP64, (-1, 2), ("no", "yes")),
        TensorSpec("known", Datatype.BOOL, (-1,)),
    )
    assert manifest.lineage.model == "Scales, and answers."
    assert asked(bundle, 1.5, "known", "predict") == {"predict": ["yes"], "known": [True]}


def test_what_it_writes_into_its_inputs_is_seen_by_nobody(bundle: Path) -> None:
    columns = {"x": np.array([1.5]), "carrier": np.array(["UA"], object)}
    load_model(bundle, None, allow_pickle=True).engine.predict(columns, ("predict",))
    assert columns["x"].tolist() == [1.5]


def test_it_is_code_and_asks_to_be_allowed(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"PickleRefused: model/model\.py is Python, .* spec\.model\.allowPickle"):
        load_model(bundle, None, allow_pickle=False)


def test_two_versions_live_beside_each_other(bundle: Path, tmp_path: Path) -> None:
    other = pack(
        folder(tmp_path / "other", scale="def scaled(x, factor):\n    return 0 * x\n"), ROWS, tmp_path / "bundle2"
    )
    old = load_model(bundle, None, allow_pickle=True).engine
    new = load_model(other.directory, None, allow_pickle=True).engine
    row = {"x": np.array([1.5]), "carrier": np.array(["UA"], object)}
    assert [engine.predict(row, ("predict",))["predict"].tolist() for engine in (old, new, old)] == [
        ["yes"],
        ["no"],
        ["yes"],
    ]


def test_only_what_the_manifest_lists_can_be_imported(bundle: Path) -> None:
    (bundle / "model" / "steps" / "__init__.py").write_text("raise SystemError('not listed')")
    (bundle / "model" / "steps" / "scale").mkdir()
    (bundle / "model" / "steps" / "scale" / "__init__.py").write_text("raise SystemError('not listed')")
    assert asked(bundle, 1.5, "predict") == {"predict": ["yes"]}
    assert not list(bundle.rglob("*.pyc"))


@pytest.mark.parametrize("name", ["extra", "steps.extra"])
def test_nothing_is_imported_from_where_the_process_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folder(tmp_path / "made", model=f"from .{name} import anything\n" + CLASS)
    for place in (tmp_path, made):
        (place / "steps").mkdir(exist_ok=True)
        (place / f"{name.replace('.', '/')}.py").write_text("anything = 1\n")
    bundle = pack(made, ROWS, tmp_path / "bundle").directory
    document = json.loads((bundle / "manifest.json").read_text())
    del document["files"][f"model/{name.replace('.', '/')}.py"]
    (bundle / "manifest.json").write_text(json.dumps(document))
    before = {module for module in sys.modules if module.startswith("tidegate_model_")}
    for place in (tmp_path, bundle, bundle / "model"):
        monkeypatch.chdir(place)
        with pytest.raises(BundleError, match=f"the bundle has no module model.{name}|has no module {name}"):
            load_model(bundle, None, allow_pickle=True)
    assert {module for module in sys.modules if module.startswith("tidegate_model_")} == before


def test_a_module_may_have_the_name_of_a_folder(tmp_path: Path) -> None:
    made = folder(tmp_path / "made", model="\ufeff" + CLASS.replace(".steps.scale", ".steps"))
    (made / "steps.py").write_text("from pathlib import Path\nHERE = Path(__file__).parent\n" + FILES["steps/scale.py"])
    (made / "model").mkdir()
    (made / "model" / "weights.bin").write_bytes(b"1")
    assert asked(pack(made, ROWS, tmp_path / "bundle").directory, 1.5, "predict") == {"predict": ["yes"]}


def test_what_it_answers_is_its_own_no_more(tmp_path: Path) -> None:
    code = """
import numpy as np
class Model:
    def load(self, directory):
        self.buffer = np.zeros(10_000)

    def predict(self, inputs):
        np.copyto(self.buffer[: len(inputs["x"])], inputs["x"])
        return {"predict": self.buffer[: len(inputs["x"])]}
"""
    bundle = pack(folder(tmp_path / "made", model=code), ROWS, tmp_path / "bundle").directory
    engine = load_model(bundle, None, allow_pickle=True).engine
    carrier = np.array(["UA"], object)
    found = [engine.predict({"x": np.array([x]), "carrier": carrier}, ("predict",))["predict"] for x in (1.0, 2.0)]
    assert [array.tolist() for array in found] == [[1], [2]]


def test_the_folder_holds_nothing_but_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(tmp_path / "made")
    ROWS.to_csv(made / "train.csv", index=False)
    monkeypatch.chdir(made)
    with pytest.raises(PackError, match=r"train\.csv lies in the folder"):
        pack(Path(), made / "train.csv", tmp_path / "bundle")
    with pytest.raises(PackError, match="bundle lies in the folder"):
        pack(Path(), ROWS, Path("bundle"))
    assert pack(Path(), ROWS, tmp_path / "bundle").manifest.name == "made"


def test_changed_code_is_not_run(bundle: Path) -> None:
    file = bundle / "model" / "steps" / "scale.py"
    file.write_text(file.read_text().replace("x * factor", "x + factor"))
    with pytest.raises(BundleError, match="DigestMismatch"):
        load_model(bundle, None, allow_pickle=True)


NO_CLASS = "class Another:\n    pass\n"
NO_PREDICT = "class Model:\n    def load(self, directory):\n        pass\n"
ANSWERS = NO_PREDICT + "    def predict(self, inputs):\n        return {}\n"
REFUSED: dict[str, tuple[str, str]] = {
    "no class": (NO_CLASS, "model/model.py has no class Model"),
    "no predict": (NO_PREDICT, "the class Model in model/model.py has no method predict"),
    "no Python": ("class", "cannot be loaded: SyntaxError"),
    "a library that is not there": ("import not_there\n" + CLASS, "cannot be loaded: ModuleNotFoundError"),
    "no array": (ANSWERS.format("3"), "is not a dict of arrays by name"),
    "another name than predict": (ANSWERS.format("{'said': inputs['x']}"), "answers said, and needs an output"),
    "too few rows": (ANSWERS.format("{'predict': inputs['x'][:1]}"), "has not one row for each row"),
    "one number for all": (ANSWERS.format("{'predict': 3.0}"), "has not one row for each row"),
    "three dimensions": (ANSWERS.format("{'predict': inputs['x'].reshape(-1, 1, 1)}"), "an array of 3 dimensions"),
    "objects": (ANSWERS.format("{'predict': [{1}] * len(inputs['x'])}"), "neither a number nor a text"),
    "probabilities of nothing": (
        ANSWERS.format("{'predict': inputs['x'], 'predict_proba': np.ones((len(inputs['x']), 2))}").replace(
            "class", "import numpy as np\nclass", 1
        ),
        "a column for each of the labels in the attribute classes_",
    ),
    "a missing text": (ANSWERS.format("{'predict': inputs['carrier']}"), "neither a number nor a text"),
    "a number as a name": (ANSWERS.format("{3: inputs['x']}"), "is not a dict of arrays by name"),
    "labels that JSON does not have": (
        ANSWERS.replace("def load", "classes_ = [(1, 2), (3,)]\n\n    def load").format(
            "{'predict': inputs['x'], 'predict_proba': inputs['x'].repeat(2).reshape(-1, 2)}"
        ),
        "classes_ holds a tuple, and labels are numbers or texts",
    ),
    "an end of the process": ("import sys\nsys.exit(0)\n", "cannot be loaded: RuntimeError: it called sys.exit"),
    "an end of the process when it is asked": (
        ANSWERS.format("__import__('sys').exit(0)"),
        "cannot answer the data: RuntimeError: it called sys.exit",
    ),
    "an error": (ANSWERS.format("1 / 0"), "cannot answer the data: ZeroDivisionError"),
}


@pytest.mark.parametrize(("code", "message"), REFUSED.values(), ids=REFUSED)
def test_a_class_that_cannot_be_served_is_refused(code: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        pack(folder(tmp_path / "made", model=code), ROWS, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_outputs_that_come_and_go_are_refused(tmp_path: Path) -> None:
    more = "{'predict': inputs['x'], **({'more': inputs['x']} if len(inputs['x']) > 1 else {})}"
    with pytest.raises(BundleError, match="golden rows: the model's answer 'more' does not have the shape"):
        pack(folder(tmp_path / "made", model=ANSWERS.format(more)), ROWS, tmp_path / "bundle")
    more = "{'predict': inputs['x'], **({'more': inputs['x']} if len(inputs['x']) < 10_000 else {})}"
    with pytest.raises(ModelError, match="other outputs for some rows than for others"):
        pack(folder(tmp_path / "made", model=ANSWERS.format(more)), pd.concat([ROWS] * 300), tmp_path / "bundle")


def test_a_folder_without_the_file_or_with_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no model\.py"):
        pack(tmp_path / "empty", ROWS, tmp_path / "bundle")
    made = folder(tmp_path / "made")
    for target in (made / "factor.txt", made / "steps"):
        (made / "link").symlink_to(target)
        with pytest.raises(PackError, match="link is not a plain file"):
            pack(made, ROWS, tmp_path / "bundle")
        (made / "link").unlink()


def test_an_answer_of_another_type_than_it_was_packed_with_is_invalid(tmp_path: Path) -> None:
    code = ANSWERS.format("{'predict': inputs['x'] if inputs['x'][0] < 9 else ['high'] * len(inputs['x'])}")
    bundle = pack(folder(tmp_path / "made", model=code), ROWS, tmp_path / "bundle").directory
    assert asked(bundle, 1.5, "predict") == {"predict": [1.5]}
    with pytest.raises(InvalidOutputError, match="'predict' does not have the type of its signature"):
        asked(bundle, 9.5, "predict")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's folder, with a model that was trained as the example says, and its data."""
    flights = Path(__file__).parents[3] / "examples" / "flights"
    made = tmp_path_factory.mktemp("example")
    sys.path.insert(0, str(flights))
    try:
        import flights_data
        import skops.io
        import train

        rows = flights_data.read(1)
        skops.io.dump(train.train(rows), made / "model.skops")
    finally:
        sys.path.remove(str(flights))
    rows[[*flights_data.FEATURES, flights_data.TARGET]].to_parquet(made / "train.parquet")
    shutil.copytree(flights / "with_rule", made / "with_rule")
    shutil.copy(made / "model.skops", made / "with_rule")
    return made


def test_the_rule_of_the_example_overrules_its_model(example: Path, tmp_path: Path) -> None:
    bundle = pack(example / "with_rule", example / "train.parquet", tmp_path / "bundle", target="late").directory
    loaded = load_model(bundle, None, allow_pickle=True)
    row: dict[str, Any] = {name: values[:1] for name, values in loaded.manifest.golden.inputs.items()}
    row |= {"dep_delay": [90.0, 90.0, 0.0, None], "distance": [300, 2500, 300, 300]}
    columns = {
        spec.name: np.array(values if len(values := row[spec.name]) == 4 else list(values) * 4, spec.datatype.dtype)
        for spec in loaded.manifest.signature.inputs
    }
    answers = loaded.engine.predict(columns, ("predict", "predict_proba", "because"))
    assert answers["because"].tolist() == ["rule: cannot catch up", "model", "model", "model"]
    assert answers["predict"][0] == 1
    assert answers["predict_proba"][0].tolist() == [0, 1]
    assert 0 < answers["predict_proba"][1, 0] < 1
