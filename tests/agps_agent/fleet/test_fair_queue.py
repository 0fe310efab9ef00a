"""Robots are answered in turn, a few at a time, each by its deadline."""

import asyncio

import pytest

from agps_agent.fleet.fair_queue import FairQueue


def test_robot_that_asks_often_does_not_delay_the_others():
    async def run() -> list[str]:
        turns, order, opened = FairQueue(1), list[str](), asyncio.Event()

        async def ask(robot: str) -> None:
            async with turns.turn(robot, deadline_s=60.0):
                order.append(robot)
                await opened.wait()

        tasks = []
        for robot in ("a", "a", "a", "a", "b", "c", "b"):
            tasks.append(asyncio.create_task(ask(robot)))
            await asyncio.sleep(0)
        opened.set()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == ["a", "a", "b", "c", "a", "b", "a"]


def test_no_more_are_under_way_than_may_be():
    async def run() -> int:
        turns, most = FairQueue(3), 0

        async def ask(robot: str) -> None:
            nonlocal most
            async with turns.turn(robot, deadline_s=60.0):
                most = max(most, turns.under_way)
                await asyncio.sleep(0)

        await asyncio.gather(*(ask(f"r{n % 5}") for n in range(40)))
        assert (turns.under_way, turns.waiting) == (0, 0)
        return most

    assert asyncio.run(run()) == 3


def test_question_whose_turn_does_not_come_in_time_gives_up_its_place():
    async def run() -> None:
        turns = FairQueue(1)
        async with turns.turn("a", deadline_s=60.0):
            with pytest.raises(TimeoutError):
                async with turns.turn("b", deadline_s=0.0):
                    pass
            assert (turns.under_way, turns.waiting) == (1, 0)
        async with turns.turn("b", deadline_s=60.0):
            assert turns.under_way == 1

    asyncio.run(run())


def test_failure_inside_a_turn_gives_it_on():
    async def run() -> None:
        turns = FairQueue(1)
        with pytest.raises(ValueError, match="oh"):
            async with turns.turn("a", deadline_s=60.0):
                raise ValueError("oh")
        async with turns.turn("b", deadline_s=60.0):
            assert turns.under_way == 1

    asyncio.run(run())
