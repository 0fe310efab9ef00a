import pytest

from rl.traits import ALGORITHMS, TRAITS


@pytest.mark.parametrize("name", TRAITS.names)
def test_traits_of_an_algorithm_are_those_of_its_class(name: str) -> None:
    traits, kind = TRAITS.load(name), ALGORITHMS.load(name)
    assert traits.config_class is kind.config_class
    assert (traits.pretrains, traits.needs_demonstrations) == (kind.pretrains, kind.needs_demonstrations)


def test_every_algorithm_of_ours_has_traits() -> None:
    ours = {entry.name for entry in ALGORITHMS if entry.origin.startswith("agps ")}
    assert ours <= set(TRAITS.names)
