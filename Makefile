# `make demo` trains USB insertion in simulation and leaves its story in runs/demo/report.html; `make test` passes the checks.
# Both install what they need first; a second run reuses it.
.PHONY: setup demo test hardware lint slow docs

AGPS := .venv/bin/agps
# Two threads beside another busy process are ten times slower than one.
TEST_ENV := OMP_NUM_THREADS=1

setup:
	@scripts/setup.sh

# Nobody's demonstrations: the agent begins. One update per step, not two, of batches of 32, not 128, on a second core: less time for more
# control steps, which cost nothing in a simulation.
DEMO = --demos 0 --learner overlapped --algorithm-options.gradient-steps 1 --algorithm-options.batch-size 32
demo: setup
	@rm -rf runs/demo
	$(AGPS) train usb_insertion $(DEMO) --run-dir runs/demo
	@echo "Open runs/demo/report.html. Next, type: $(AGPS) eval runs/demo --episodes 20"

test: lint
	@scripts/setup.sh --browser
	$(TEST_ENV) .venv/bin/python -m pytest -q -n auto --dist worksteal
	@$(MAKE) --no-print-directory hardware

# The drivers of arm, cameras and teleoperation against emulators: the core above is tested without them. The emulated
# stations' clock is as slow as this computer needs; what was measured stands at the end. A load that comes after it was
# measured stops an arm, as it should: what failed is run once more, alone, on a clock that hardly any load disturbs.
hardware:
	@scripts/setup.sh --hardware
	$(TEST_ENV) .venv/bin/python -m pytest -q -m emulated -n 4 --dist worksteal tests/hardware \
		|| $(TEST_ENV) .venv/bin/python -m pytest -q -m emulated --last-failed --slowdown 10 tests/hardware

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

slow: setup
	$(TEST_ENV) .venv/bin/python -m pytest -q -m slow

# The site of the documentation, in site/: open site/index.html. Nothing is fetched. Its search needs a server:
# python3 -m http.server --directory site
docs: setup
	.venv/bin/python -m mkdocs build --strict
