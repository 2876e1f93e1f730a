"""Which module certainly follows which."""

from torch import nn

from spine_monai.networks.sequences import is_plain, sequences


class Adds(nn.Sequential):
    """A Sequential that does more than its steps."""

    def forward(self, features):
        return features + super().forward(features)


def kinds(steps):
    return [type(step.module).__name__ for step in steps]


def test_steps_of_nested_containers_stand_in_one_sequence():
    network = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), nn.BatchNorm2d(2))
    (steps,) = sequences(network)
    assert kinds(steps) == ["Conv2d", "ReLU", "BatchNorm2d"]
    assert [step.name for step in steps] == ["0", "1", "1"]
    assert steps[0].parent is network[0]


def test_a_container_with_a_forward_of_its_own_is_opaque_but_its_insides_are_seen():
    network = nn.Sequential(Adds(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())), nn.ReLU())
    assert [kinds(steps) for steps in sequences(network)] == [["Adds", "ReLU"], ["Conv2d", "ReLU"]]
    assert not is_plain(network[0])


def test_what_does_nothing_in_inference_is_left_out():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout2d(0.5), nn.Identity(), nn.ReLU())
    assert kinds(sequences(network)[0]) == ["Conv2d", "ReLU"]


def test_a_container_in_two_places_is_one_opaque_step_and_a_sequence_of_its_own():
    shared = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
    network = nn.Sequential(shared, nn.Sigmoid(), shared)
    assert [kinds(steps) for steps in sequences(network)] == [
        ["Sequential", "Sigmoid", "Sequential"],
        ["Conv2d", "ReLU"],
    ]


def test_a_module_in_two_places_is_known_to_be_used_twice():
    shared = nn.Conv2d(2, 2, 1)
    (steps,) = sequences(nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared)))
    assert [step.is_used_once for step in steps] == [False, True, False]


def test_a_step_is_replaced_in_its_own_place():
    network = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3)), nn.ReLU())
    sequences(network)[0][1].replace_by(nn.Sigmoid())
    assert kinds(sequences(network)[0]) == ["Conv2d", "Sigmoid"]
