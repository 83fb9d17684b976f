"""Data that training reads is at a path of what determines it."""

from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticStore
from dpmix.params.specs import GivenImagesSpec
from tests.artefacts.test_experiment import DATASET, ENCODER, SYNTHETIC, experiment


def test_an_encoder_is_fetched_once_for_all_its_uses() -> None:
    again = ENCODER.model_copy(update={"standardize": "public", "resolution": 32})
    assert EncoderModel(encoder=again).path("demo") == EncoderModel(encoder=ENCODER).path("demo")


def test_an_encoder_of_another_side_is_another_folder() -> None:
    """Which says its side, so that nobody who reads it need be told."""
    other = ENCODER.model_copy(update={"side": 96})
    assert EncoderModel(encoder=other).path("demo") != EncoderModel(encoder=ENCODER).path("demo")


def test_a_synthetic_set_does_not_depend_on_where_class_names_are_looked_up() -> None:
    elsewhere = SYNTHETIC.model_copy(update={"names_from": 32})
    assert elsewhere.path("demo") == SYNTHETIC.path("demo")
    stores = [SyntheticStore(synthetic=one, resolution=16).path("demo") for one in (SYNTHETIC, elsewhere)]
    assert stores[0] == stores[1]
    assert experiment(synthetic=elsewhere).path("demo") == experiment().path("demo")


def test_a_store_is_named_by_data_set_and_resolution() -> None:
    small, large = (ImageStore(dataset=DATASET, resolution=pixels) for pixels in (16, 32))
    assert small.path("demo") != large.path("demo")
    assert small.path("demo").as_posix().startswith("data/images/shapes-16px-")


def test_an_encoder_that_is_trained_here_depends_on_its_images_and_others_keep_their_paths() -> None:
    ours = ENCODER.model_copy(update={"weights": "public", "images": "some.zip"})
    others = ours.model_copy(update={"images": "other.zip"})
    assert EncoderModel(encoder=ours).hash != EncoderModel(encoder=others).hash
    assert experiment(model=ours).hash != experiment(model=others).hash
    assert EncoderModel(encoder=ENCODER).key() == {"architecture": "ViT-B-16", "weights": "openai"}
    assert "images" not in experiment().key()["model"]


def test_given_images_need_no_model_and_are_their_path() -> None:
    given = SYNTHETIC.model_copy(update={"diffusion": GivenImagesSpec(name="brush", images="some.zip")})
    assert given.inputs() == [ImageStore(dataset=DATASET, resolution=16)]
    other = given.model_copy(update={"diffusion": GivenImagesSpec(name="brush", images="other.zip")})
    assert len({SYNTHETIC.hash, given.hash, other.hash}) == 3
    assert given.key()["diffusion"] == {"name": "brush", "images": "some.zip"}
