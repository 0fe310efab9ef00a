import io

from PIL import Image

from scripts.draw_film import encode

SIZE = (32, 24)


def durations_ms(film: bytes) -> list[int]:
    with Image.open(io.BytesIO(film)) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            image.load()  # tells how long the frame is shown
            found.append(image.info["duration"])
        return found


def test_a_control_step_of_the_film_takes_a_tenth_of_a_second_and_answer_and_end_stay() -> None:
    pictures = [Image.new("RGB", SIZE, (60 * n, 0, 0)) for n in range(4)]
    assert durations_ms(encode([pictures, pictures], quality=80)) == [2_000, 100, 100, 1_500] * 2
