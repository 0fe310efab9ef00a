import numpy as np
import pytest
from gymnasium import spaces

from rl import buffers
from rl.buffers import FrameStore, IndexBuffer, StateScales, demo_count
from rl.errors import ConfigError

SPACE = spaces.Dict(
    {
        "left": spaces.Box(0, 255, (8, 8, 3), np.uint8),
        "right": spaces.Box(0, 255, (8, 8, 3), np.uint8),
        "state": spaces.Box(-1.0, 1.0, (1,), np.float32),
    }
)


def observe(value: int) -> dict[str, np.ndarray]:
    """An observation that can be told from every other: its number is in each pixel and in the state."""
    left = np.full((8, 8, 3), value, np.uint8)
    left[0, 0] = 255 - value
    return {"left": left, "right": np.full((8, 8, 3), value + 100, np.uint8), "state": np.array([value], np.float32)}


def make_store(capacity: int = 100, pad: int = 2) -> FrameStore:
    return FrameStore(SPACE, 2, capacity=capacity, pad=pad)


def roll(
    store: FrameStore, first: int, steps: int, *, terminated: bool = False, truncated: bool = False, reward: float = 0.0
) -> list[int]:
    """Store an episode with observations first, first + 1, ...; the last transition ends it as asked."""
    store.start_episode(observe(first))
    return [
        store.append(
            np.full(2, 0.1 * (first + t)),
            reward if t == steps - 1 else float(t),
            observe(first + t + 1),
            terminated=terminated and t == steps - 1,
            truncated=truncated and t == steps - 1,
        )
        for t in range(steps)
    ]


def next_values(store: FrameStore, slots: list[int], n: int = 1) -> list[float]:
    return store.states(store.n_step(np.array(slots), n=n, gamma=0.5).last)[:, 0].tolist()


def test_each_frame_is_stored_once():
    store = make_store()
    roll(store, 0, 5, terminated=True)
    roll(store, 10, 3, truncated=True)
    assert store.observations == (5 + 1) + (3 + 1)


def test_memory_is_what_padded_frames_take():
    assert make_store(capacity=10, pad=2).bytes_reserved == 10 * 2 * 12 * 12 * 3


def test_frames_come_back_as_they_were_stored():
    store = make_store()
    slots = np.array(roll(store, 3, 2, terminated=True))
    np.testing.assert_array_equal(store.images("left", slots)[1], observe(4)["left"])
    np.testing.assert_array_equal(store.images("right", slots)[0], observe(3)["right"])
    np.testing.assert_allclose(store.actions(slots)[1], [0.4, 0.4], atol=1e-7)


@pytest.mark.parametrize("most", [0, buffers.PADDED_BYTES])
def test_shifted_window_is_the_edge_padded_image_moved(most: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(buffers, "PADDED_BYTES", most)
    store = make_store(pad=2)
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    store.start_episode({**observe(0), "left": image})
    slot = store.append(np.zeros(2), 0.0, observe(1), terminated=True, truncated=False)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    crop = store.crop("left", np.array([slot - 1, slot]), np.array([[0, 0], [4, 1]]))[1]
    np.testing.assert_array_equal(crop, padded[4:12, 1:9])
    np.testing.assert_array_equal(store.images("left", np.array([slot]))[0], image)


def test_replay_of_100000_observations_of_two_cameras_of_128_px_takes_less_than_9_9_gigabytes():
    space = spaces.Dict(
        {name: spaces.Box(0, 255, (128, 128, 3), np.uint8) for name in ("left", "right")}
        | {"state": spaces.Box(-1, 1, (20,), np.float32)}
    )
    store = FrameStore(space, 6, capacity=100_000)  # reserved, not used: no page is taken from the machine
    small = sum(array.nbytes for array in vars(store).values() if isinstance(array, np.ndarray))
    assert store.bytes_reserved + small <= 9.9e9


def test_next_observation_of_the_last_step_is_the_terminal_one():
    store = make_store()
    slots = roll(store, 0, 3, terminated=True)
    roll(store, 50, 3, terminated=True)
    assert next_values(store, slots) == [1.0, 2.0, 3.0]


def test_next_observation_never_comes_from_the_next_segment():
    store = make_store()
    first = roll(store, 10, 3)  # ends without terminated or truncated
    second = roll(store, 30, 3)
    demo = IndexBuffer(store)
    demo.add(first)
    demo.add(second)
    assert next_values(store, [first[-1], second[0]]) == [13.0, 31.0]
    assert next_values(store, [first[-1]], n=5) == [13.0]
    np.testing.assert_array_equal(store.images("left", np.array([second[0]]))[0], observe(30)["left"])


def test_n_step_return_by_hand():
    store = make_store()
    slots = roll(store, 0, 5, terminated=True, reward=8.0)  # rewards 0, 1, 2, 3, 8
    returns = store.n_step(np.array(slots), n=3, gamma=0.5)
    np.testing.assert_allclose(returns.rewards, [0 + 0.5 + 0.5, 1 + 1 + 0.75, 2 + 1.5 + 2, 3 + 4, 8], atol=1e-6)
    np.testing.assert_allclose(returns.discounts, [0.125, 0.125, 0, 0, 0], atol=1e-7)


def test_truncated_end_bootstraps_with_the_shorter_discount():
    store = make_store()
    slots = roll(store, 0, 4, truncated=True, reward=3.0)
    returns = store.n_step(np.array(slots), n=3, gamma=0.5)
    np.testing.assert_allclose(returns.discounts, [0.125, 0.125, 0.25, 0.5], atol=1e-7)
    np.testing.assert_allclose(store.states(returns.last)[:, 0], [3, 4, 4, 4], atol=0)


def test_running_episode_bootstraps_from_its_newest_observation():
    store = make_store()
    slots = roll(store, 0, 2)
    returns = store.n_step(np.array(slots), n=3, gamma=0.5)
    np.testing.assert_allclose(returns.discounts, [0.25, 0.5], atol=1e-7)
    np.testing.assert_allclose(store.states(returns.last)[:, 0], [2, 2], atol=0)


def test_monte_carlo_return_by_hand():
    store = make_store()
    slots = roll(store, 0, 4, terminated=True, reward=8.0)  # rewards 0, 1, 2, 8
    np.testing.assert_allclose(
        store.returns(np.array(slots)[[3, 0, 1, 2]], 0.5), [8, 0 + 0.5 + 0.5 + 1, 1 + 1 + 2, 2 + 4], atol=1e-6
    )


def test_monte_carlo_return_ends_with_the_episode_and_ignores_what_follows_a_task_end():
    store = make_store()
    slots = roll(store, 0, 3, terminated=True, reward=-0.1)  # rewards 0, 1, -0.1
    roll(store, 20, 3, terminated=True, reward=100.0)
    np.testing.assert_allclose(
        store.returns(np.array(slots), 0.5, after_end=-7.0), [0.5 - 0.025, 1 - 0.05, -0.1], atol=1e-6
    )


@pytest.mark.parametrize("truncated", [True, False])  # a time limit; a segment or a running episode
def test_monte_carlo_return_of_an_open_end_takes_the_value_that_is_assumed_there(truncated: bool):
    store = make_store()
    slots = np.array(roll(store, 0, 3, truncated=truncated, reward=-0.1))  # rewards 0, 1, -0.1
    np.testing.assert_allclose(store.returns(slots, 0.5), [0.475, 0.95, -0.1], atol=1e-6)
    bound = -0.1 / (1 - 0.5)
    np.testing.assert_allclose(
        store.returns(slots, 0.5, after_end=bound), [0.475 + bound / 8, 0.95 + bound / 4, -0.1 + bound / 2], atol=1e-6
    )


def test_eviction_frees_the_oldest_episode_and_leaves_index_sets_right():
    store = make_store(capacity=12)
    online = IndexBuffer(store)
    for first in (0, 20, 40, 60):
        online.add(roll(store, first, 3, terminated=True))
    values = sorted(store.states(online.slots)[:, 0].tolist())
    assert values == [20, 21, 22, 40, 41, 42, 60, 61, 62]
    assert next_values(store, [int(s) for s in online.slots if store.states(np.array([s]))[0, 0] == 62]) == [63.0]


def test_demonstrations_outlive_eviction():
    store = make_store(capacity=12)
    online, demo = IndexBuffer(store), IndexBuffer(store, keep=True)
    demo.add(roll(store, 0, 3, terminated=True))
    for first in (20, 40, 60):
        online.add(roll(store, first, 3, terminated=True))
    assert sorted(store.states(demo.slots)[:, 0].tolist()) == [0, 1, 2]
    assert sorted(store.states(online.slots)[:, 0].tolist()) == [40, 41, 42, 60, 61, 62]


def firsts(store: FrameStore, buffer: IndexBuffer) -> list[int]:
    """The first observations of the episodes in an index set, oldest first."""
    numbers = sorted(set(store.episode_of(buffer.slots).tolist()))
    return [int(store.states(store.slots_of(number)[:1])[0, 0]) for number in numbers]


def test_episodes_that_give_way_outlive_others_up_to_half_of_the_memory_then_the_oldest_goes():
    store = make_store(capacity=20)  # five episodes of four observations
    online, demo = IndexBuffer(store), IndexBuffer(store, keep=True)
    given = roll(store, 0, 3, terminated=True)
    demo.add(given)
    for first in (10, 20, 30, 40):
        online.add(roll(store, first, 3, terminated=True))
        if first != 20:
            demo.add(online.slots[-3:], give_way=True)
    assert (firsts(store, demo), firsts(store, online)) == ([0, 10, 30, 40], [10, 20, 30, 40])
    online.add(roll(store, 50, 3, terminated=True))  # 12 of the 16 that are not given, more than half, give way
    assert (firsts(store, demo), firsts(store, online)) == ([0, 30, 40], [20, 30, 40, 50])
    online.add(roll(store, 60, 3, terminated=True))  # 8 of 16: now the oldest of the others goes
    assert (firsts(store, demo), firsts(store, online)) == ([0, 30, 40], [30, 40, 50, 60])


def test_episode_that_is_kept_for_good_and_gives_way_is_kept_for_good():
    for orders in ((False, True), (True, False)):
        store = make_store(capacity=8)
        demo = IndexBuffer(store, keep=True)
        slots = roll(store, 0, 3, terminated=True)
        for give_way in orders:
            demo.add(slots, give_way=give_way)
        for first in (10, 20, 30):
            roll(store, first, 3, terminated=True)
        assert (store.kept, firsts(store, demo)) == ((0,), [0])


def test_store_full_of_demonstrations_says_what_to_do():
    store = make_store(capacity=8)
    demo = IndexBuffer(store, keep=True)
    demo.add(roll(store, 0, 3, terminated=True))
    demo.add(roll(store, 10, 3, terminated=True))
    with pytest.raises(ConfigError, match="larger buffer_capacity"):
        store.start_episode(observe(20))


def test_episode_that_there_is_no_room_for_leaves_what_was_stored():
    store = make_store(capacity=8)
    demo = IndexBuffer(store, keep=True)
    demo.add(roll(store, 0, 3, terminated=True))
    roll(store, 10, 2, terminated=True)
    before = {number: store.slots_of(number).tolist() for number in store.episodes}
    other = make_store(capacity=8)
    roll(other, 2, 4, terminated=True)
    with pytest.raises(ConfigError, match="The episode has 5 observations, more than the 4 .*larger buffer_capacity"):
        store.add_episode(other.episode(0))
    assert {number: store.slots_of(number).tolist() for number in store.episodes} == before
    assert not store.is_open()
    other = make_store(capacity=8)
    roll(other, 2, 3, terminated=True)
    store.add_episode(other.episode(0))
    assert firsts(store, demo) == [0] and store.observations == 8


def test_transition_in_two_sets_stays_in_the_other():
    store = make_store()
    slots = roll(store, 0, 3, terminated=True)
    online, demo = IndexBuffer(store), IndexBuffer(store)
    online.add(slots)
    demo.add(slots[1:])
    demo.add(slots[1])
    demo.discard([slots[1]])
    assert (len(online), len(demo)) == (3, 1)
    assert demo.slots.tolist() == [slots[2]]


def test_sampling_covers_the_set_and_nothing_else():
    store = make_store()
    buffer = IndexBuffer(store)
    slots = roll(store, 0, 6, terminated=True)[::2]
    buffer.add(slots)
    drawn = buffer.sample(200, np.random.default_rng(0))
    assert set(drawn.tolist()) == set(slots)


@pytest.mark.parametrize(
    ("online", "demo", "expected"), [(500, 400, 64), (500, 40, 32), (500, 60, 64), (500, 0, 0), (0, 40, 128)]
)
def test_share_of_demonstrations_in_a_batch(online: int, demo: int, expected: int):
    assert demo_count(128, online, demo, fraction=0.5, small_count=60, small_fraction=0.25) == expected


def test_episode_comes_back_in_the_layout_of_demonstrations():
    store = make_store()
    roll(store, 5, 3, truncated=True, reward=1.0)
    episode = store.episode(0)
    copy = make_store()
    slots = copy.add_episode(episode)
    assert {key: value.shape for key, value in episode.items()} == {
        "left": (4, 8, 8, 3),
        "right": (4, 8, 8, 3),
        "state": (4, 1),
        "action": (3, 2),
        "reward": (3,),
        "terminated": (3,),
        "truncated": (3,),
        "guided": (3,),
    }
    for key, value in copy.episode(0).items():
        np.testing.assert_array_equal(value, episode[key])
    assert next_values(copy, slots.tolist()) == [6.0, 7.0, 8.0]


def test_located_slots_are_found_in_a_restored_store():
    store = make_store(capacity=12)
    for first in (0, 20, 40, 60):
        slots = roll(store, first, 3, terminated=True)
    episodes, steps = store.locate(np.array(slots)[[2, 0]])
    assert (episodes.tolist(), steps.tolist()) == ([3, 3], [2, 0])
    copy = make_store()
    for number in store.episodes:
        copy.restore_episode(number, store.episode(number))
    assert copy.states(copy.slots_at(episodes, steps))[:, 0].tolist() == [62, 60]


@pytest.mark.parametrize("key", ["left", "action", "reward"])
def test_episode_of_another_task_is_refused(key: str):
    store = make_store()
    roll(store, 0, 2, terminated=True)
    episode = store.episode(0)
    with pytest.raises(ConfigError, match=f"'{key}'"):
        make_store().add_episode(
            {**episode, key: episode[key][..., :1]} if key != "reward" else {**episode, key: np.zeros(9)}
        )
    with pytest.raises(ConfigError, match=f"no '{key}'"):
        make_store().add_episode({name: value for name, value in episode.items() if name != key})


def test_append_without_an_episode_is_refused():
    with pytest.raises(ConfigError, match="start_episode"):
        make_store().append(np.zeros(2), 0.0, observe(0), terminated=False, truncated=False)


def test_channels_first_images_are_refused():
    space = spaces.Dict({"left": spaces.Box(0, 255, (3, 8, 8), np.uint8), "state": SPACE["state"]})
    with pytest.raises(ConfigError, match="channels last"):
        FrameStore(space, 2, capacity=10)


def make_arm_store(capacity: int = 100) -> FrameStore:
    """A store of states that begin with the way of a TCP."""
    space = spaces.Dict({"state": spaces.Box(-1.0, 1.0, (4,), np.float32)})
    return FrameStore(space, 2, capacity=capacity)


METRES = StateScales(0.1)
"""A state that begins with a position, in tenths of a metre, and has no rotation."""


def reach(store: FrameStore, positions: list[float], *, success: bool) -> np.ndarray:
    """Store an episode along x; the last step ends it, with a reward if it succeeds."""
    states = [{"state": np.array([x, 0, 0, 9], np.float32)} for x in positions]
    store.start_episode(states[0])
    last = len(states) - 2
    slots = [
        store.append(np.zeros(2), float(success and t == last), states[t + 1], terminated=t == last, truncated=False)
        for t in range(last + 1)
    ]
    return np.array(slots)


def test_way_is_known_of_every_frame_of_a_success_and_of_no_other():
    store = make_arm_store()
    success = reach(store, [0.0, 1.0, 3.0], success=True)
    failure = reach(store, [0.0, 1.0, 3.0], success=False)
    np.testing.assert_allclose(store.ways(success, METRES)[:, :3], [[0.3, 0, 0], [0.2, 0, 0]], atol=1e-7)
    assert np.isnan(store.ways(failure, METRES)).all()


def test_turn_is_known_where_the_state_has_a_rotation():
    space = spaces.Dict({"state": spaces.Box(-np.inf, np.inf, (6,), np.float32)})
    store = FrameStore(space, 2, capacity=8)
    turned = [{"state": np.array([0, 0, 0, 0, 0, z], np.float32)} for z in (0.5, 0.2, -1.0)]
    store.start_episode(turned[0])
    slots = [store.append(np.zeros(2), float(t), turned[t + 1], terminated=t == 1, truncated=False) for t in range(2)]
    np.testing.assert_allclose(store.ways(np.array(slots), StateScales(0.1, 0.2))[:, 3], [-0.3, -0.24], atol=1e-7)


def test_what_a_teacher_says_goes_before_hindsight():
    store = make_arm_store()
    slots = reach(store, [0.0, 1.0, 3.0], success=True)
    store.teach(slots[:1], np.zeros((1, 2)), np.array([[0.31, 0.02, 0.0, 0.05]]))
    np.testing.assert_allclose(store.ways(slots, METRES), [[0.31, 0.02, 0, 0.05], [0.2, 0, 0, np.nan]], atol=1e-7)


def test_slot_that_is_used_again_forgets_what_was_said_of_it():
    store = make_arm_store(capacity=8)
    slots = reach(store, [0.0, 1.0, 2.0, 3.0], success=True)
    store.teach(slots, np.ones((3, 2)), np.ones((3, 4)))
    reach(store, [0.0, 1.0, 2.0, 3.0], success=False)
    newest = reach(store, [0.0, 1.0, 2.0, 3.0], success=False)
    assert set(newest) & set(slots)
    assert np.isnan(store.labels(newest)).all() and np.isnan(store.ways(newest, METRES)).all()


def test_what_a_teacher_said_comes_back_with_its_episode():
    store, restored = make_arm_store(), make_arm_store()
    slots = reach(store, [0.0, 1.0, 3.0], success=True)
    labels, ways = np.array([[0.5, -0.5], [np.nan, np.nan]]), np.array([[np.nan] * 4, [0.4, 0.0, 0.1, 0.2]])
    store.teach(slots, labels, ways)
    again = restored.restore_episode(0, store.episode(0))
    np.testing.assert_array_equal(restored.labels(again), labels.astype(np.float32))
    np.testing.assert_allclose(restored.ways(again, METRES), [[0.3, 0, 0, np.nan], [0.4, 0, 0.1, 0.2]], atol=1e-7)


def test_label_that_is_no_action_is_refused():
    store = make_store()
    roll(store, 0, 3, truncated=True)
    episode = {**store.episode(0), "label": np.full((3, 2), 1.5, np.float32)}
    with pytest.raises(ConfigError, match="label.*outside"):
        make_store().add_episode(episode)
