import pytest

from agps_agent.models.prices import in_dollars, price_lists, price_of

OPENAI, GEMINI = "https://api.openai.com/v1", "https://generativelanguage.googleapis.com/v1beta/openai"


def test_prompts_and_replies_are_charged_apart() -> None:
    price = price_of(OPENAI, "gpt-5-mini")
    assert price is not None
    assert price.of(2_000_000, 500_000) == pytest.approx(2 * 0.25 + 0.5 * 2.00)
    assert "developers.openai.com" in price.source


@pytest.mark.parametrize(
    ("url", "model"),
    [(OPENAI, "gpt-5-mini-2025-08-07"), (GEMINI, "models/gemini-3.5-flash"), (GEMINI, "gemini-3.5-flash")],
)
def test_model_is_found_under_each_name_that_its_server_has_for_it(url: str, model: str) -> None:
    assert price_of(url, model) is not None


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("http://127.0.0.1:8000/v1", "Qwen/qwen3-vl-235b-a22b-instruct"),
        ("embedded", "embedded"),
        (OPENAI, "gpt-5-mini-deluxe"),
    ],
)
def test_price_of_another_server_or_model_is_not_taken(url: str, model: str) -> None:
    assert price_of(url, model) is None


def test_what_the_user_says_comes_before_the_list() -> None:
    price = price_of(OPENAI, "gpt-5-mini", given=(4.0, 1.0))
    assert price is not None and price.of(1_000_000, 1_000_000) == 5.0
    assert price.source == "--vlm-price-in and --vlm-price-out"


@pytest.mark.parametrize(
    ("url", "given", "price", "source"),
    [
        (OPENAI, (4.0, None), (4.0, 2.0), "--vlm-price-in; OpenAI, "),  # gpt-5-mini: $0.25 and $2.00
        (OPENAI, (None, 4.0), (0.25, 4.0), "--vlm-price-out; OpenAI, "),
        ("http://127.0.0.1:8000/v1", (4.0, None), (4.0, 0.0), "--vlm-price-in"),
    ],
)
def test_what_the_user_does_not_say_comes_from_the_list(
    url: str, given: tuple[float | None, float | None], price: tuple[float, float], source: str
) -> None:
    found = price_of(url, "gpt-5-mini", given=given)
    assert found is not None and (found.prompt, found.completion) == price and found.source.startswith(source)


def test_every_list_says_where_its_prices_come_from() -> None:
    assert len(price_lists()) == 3
    assert all(prices.source.startswith("https://") and prices.models for prices in price_lists())


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        *[(0.0, "$0.00"), (0.034, "$0.03"), (1234.5, "$1,234.50"), (0.0101, "$0.01")],
        *[(0.000421, "$0.00042"), (0.00994, "$0.0099"), (0.00999, "$0.01"), (0.00001, "$0.000010")],
        *[(2e-9, "less than $0.000001"), (2.5e-6, "$0.0000025")],
    ],
)
def test_amounts_are_said_for_people(cost: float, words: str) -> None:
    assert in_dollars(cost) == words
