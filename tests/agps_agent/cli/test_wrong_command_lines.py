"""What people mistype, and what files have become: one sentence that says so, and nothing left behind."""

import json
import shlex
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from agps_agent.cli.main import main
from agps_agent.tracing.store import TraceStore
from rl.demonstrations import made_for
from rl.tasks import get_task
from tests.agps_agent.report.synthetic import make_run
from tests.tools.scenes import scene
from tools.scene import save_scene

CONFIG = json.dumps({"config": {"task": "usb_insertion"}})
MADE = json.dumps(made_for(get_task("usb_insertion"), image_size=64) | {"robot": "sim", "seed": 0, "count": 1})
STATION = '[arm]\nip = "127.0.0.1"\n[workspace]\nlower = [0.3, -0.2, 0.0]\nupper = [0.7, 0.2, 0.4]\n'
FOLDERS: Mapping[str, Mapping[str, str | bytes]] = {
    "no_json": {"config.json": "{"},
    "list": {"config.json": "[]"},
    "bytes": {"config.json": b"\xff\xfe\x00"},
    "somebodys": {"config.json": '{"name": "bert"}'},
    "null": {"config.json": '{"config": null}'},
    "odd_demos": {"config.json": '{"config": {"task": "usb_insertion", "demos": "many"}}'},
    "newer": {"config.json": '{"config": {"task": "usb_insertion", "colour": "red"}}'},
    "odd_seed": {"config.json": '{"config": {"task": "usb_insertion", "seed": -5}}'},
    "lost_task": {"config.json": '{"config": {"task": "/nowhere/task.py:Juggling"}}'},
    "no_checkpoint": {"config.json": CONFIG},
    "checkpoint_no_json": {"config.json": CONFIG, "checkpoints/last/manifest.json": "{"},
    "checkpoint_of_knot": {
        "config.json": CONFIG,
        "checkpoints/last/manifest.json": '{"files": {}, "setup": {}, "saved": 1, "about": {"task": "knot_hanging"}}',
    },
    "checkpoint_empty": {"config.json": CONFIG, "checkpoints/last/manifest.json": "{}"},
    "metrics_lack": {"config.json": CONFIG, "metrics.jsonl": '{"kind": "eval"}\n'},
    "metrics_odd": {"config.json": CONFIG, "metrics.jsonl": '{"episode": 1, "success": true, "env_steps": "x"}\n'},
    "metrics_trace": {
        "config.json": CONFIG,
        "metrics.jsonl": '{"episode": 1, "success": true, "env_steps": 3, "float_trace": 3}\n',
    },
    "metrics_rubbish": {"config.json": CONFIG, "metrics.jsonl": b"\x89\xff\n\x00\xfe\n"},
    "metrics_folder": {"config.json": CONFIG, "metrics.jsonl/x": ""},
    "metrics_nan": {"config.json": CONFIG, "metrics.jsonl": '{"kind": "eval", "success_rate": NaN, "env_steps": 3}\n'},
    "metrics_figures": {
        "config.json": CONFIG,
        "metrics.jsonl": '{"kind": "eval", "success_rate": 1.0, "env_steps": 3, "figures": {"q_mean": 1.0}}\n',
    },
    "metrics_traced": {
        "config.json": CONFIG,
        "metrics.jsonl": '{"episode": 1, "success": true, "env_steps": 3, "steps": 3, "float_scores": [0.5]}\n',
    },
    "summary_folder": {"config.json": CONFIG, "summary.json/x": ""},
    "summary_ending": {"config.json": CONFIG, "summary.json": '{"ending": 3}'},
    "summary_null": {"config.json": CONFIG, "summary.json": '{"env_steps": null}'},
    "summary_negative": {"config.json": CONFIG, "summary.json": '{"success_rate": -7, "eval_episodes": 50}'},
    "summary_tokens": {"config.json": CONFIG, "summary.json": '{"agent_tokens": 3, "agent_prompt_tokens": 2}'},
    "deep": {"config.json": "[" * 100_000},
    "odd_versions": {"config.json": '{"config": {"task": "usb_insertion"}, "versions": [1]}'},
    "odd_memory": {"config.json": '{"config": {"task": "usb_insertion", "memory": ["x"]}}'},
    "memory_lacks": {"config.json": CONFIG, "memory/usb_insertion.jsonl": '{"event": "remember"}\n'},
    "summary_no_json": {"config.json": CONFIG, "summary.json": "{"},
    "summary_odd": {"config.json": CONFIG, "summary.json": '{"success_rate": "much"}'},
    "summary_short": {"config.json": CONFIG, "summary.json": '{"success_rate": 0.5}'},
    "demos_no_json": {"demos.json": "{"},
    "demos_list": {"demos.json": "[]"},
    "demos_lost": {"demos.json": '{"task": "usb_insertion", "image_size": 64, "count": 3}'},
    "demos_of_knot": {"demos.json": '{"task": "knot_hanging", "image_size": 64, "count": 1}', "episode_000.npz": b""},
    "demos_larger": {"demos.json": '{"task": "usb_insertion", "image_size": 128, "count": 1}', "episode_000.npz": b""},
    "demos_torn": {"demos.json": '{"task": "usb_insertion", "image_size": 64, "count": 1}', "episode_000.npz": b"PK12"},
    "demos_task": {"demos.json": '{"task": null, "image_size": 64, "count": 0}'},
    "demos_keys": {"demos.json": MADE, "episode_000.npz": b""},
    "frames_no_json": {"frames.json": "{"},
    "scene_no_json": {"scene.json": "{"},
    "scene_odd": {"scene.json": "{}"},
    "marks_no_json": {"keypoints.json": "{"},
    "marks_list": {"keypoints.json": "[]"},
    "marks_newer": {"keypoints.json": '{"version": 99, "task": "usb_insertion", "images": []}'},
    "marks_deep": {"keypoints.json": "[" * 100_000},
    "marks_task": {"keypoints.json": '{"version": 1, "task": ["x"], "images": []}'},
    "marks_bytes": {"keypoints.json": b"\xff\xfe\x00"},
    "marks_lost": {
        "keypoints.json": '{"version": 1, "task": "usb_insertion", "images": [{"name": "0000", "camera": "side"}]}'
    },
    "memory_rubbish": {"usb_insertion.jsonl": b"\xff\x00\n{\n"},
    "asked/interventions/0001": {"intervention.json": "{}"},
    "asked_of_what/interventions/0001": {"intervention.json": "{}", "truth.json": '{"port_left": [1, "x"]}'},
    "fleet_torn": {"fleet/status.json": "{"},
    "fleet_odd": {"fleet/status.json": '{"robots": [3], "at": 0, "pool": null}'},
    "fleet_empty": {"fleet/status.json": "{}"},
    "fleet_when": {"fleet/status.json": '{"robots": [], "at": "noon", "pool": null}'},
    "dataset_no_json": {"meta/info.json": "{"},
    "dataset_old": {"meta/info.json": '{"codebase_version": "v2.1"}'},
    "dataset_fps": {"meta/info.json": '{"codebase_version": "v3.0", "fps": 0, "features": {}, "total_episodes": 1}'},
    "results_torn": {"results.json": "{"},
    "results_list": {"results.json": "[]"},
    "traces_rubbish": {"traces.db": b"no database, whatever its name says: " * 40},
    "memory/usb_insertion.index": {"x": ""},
    "empty": {},
    ".": {
        "file.txt": "hello\n",
        "model.pt": b"no tensors",
        "station.toml": STATION,
        "grid.toml": 'title = "x"\nquestion = "y"\nseeds = -1\n',
        "grid_bytes.toml": b"\xff\xfe\x00",
        "grid_torn.toml": "[",
        "typo.toml": STATION + "[workspce]\n",
        "broken.toml": "[arm\n",
        "bytes.toml": b"\xff\xfe\x00",
        "odd.toml": "[arm]\nip = 3\n[workspace]\nlower = [0.3, -0.2, 0.0]\nupper = [0.7, 0.2, 0.4]\n",
        "swapped.toml": '[arm]\nip = "127.0.0.1"\n[workspace]\nlower = [0.7, -0.2, 0.0]\nupper = [0.3, 0.2, 0.4]\n',
        "syntax.py": "class Task(:\n",
        "plain.py": "class Plain: pass\n",
        "raises.py": "raise RuntimeError('boom')\n",
        "exits.py": "import sys\nsys.exit(3)\n",
    },
}
"""Folder -> file -> content: what lies around."""

ROWS = """
# names
trian usb_insertion                                         | did you mean `agps train`?
help                                                        | did you mean `agps --help`?
--hlep                                                      | did you mean `agps --help`?
train                                                       | Missing from agps train: TASK
train --task usb_insertion --method serl                    | TASK stands without --task: `agps train TASK`
bench memory --task knot_hanging                            | TASK stands without --task: `agps bench memory TASK`
eval --run-dir=runs/old                                     | RUN-DIR stands without --run-dir: `agps eval RUN-DIR`
train usb                                                   | did you mean usb_insertion?
train towel                                                 | did you mean towel_folding?
train usb-insertion                                         | did you mean usb_insertion?
train USB_Insertion                                         | did you mean usb_insertion?
ask knitting                                                | There is no task 'knitting'
eval --agent-alone hook                                     | There is no task 'hook'
reproduce fig4                                              | Did you mean fig4b?
emulate usb                                                 | did you mean usb_insertion?
bench grounding usb                                         | did you mean usb_insertion?
doctor --task usb                                           | did you mean usb_insertion?
serve-model --task usb                                      | did you mean usb_insertion?
train usb_insertion knot_hanging                            | Unrecognized options: knot_hanging
train ./nothing.py:Task                                     | there is no file
train ./syntax.py:Task                                      | SyntaxError: invalid syntax
train ./raises.py:Task                                      | RuntimeError: boom
train ./exits.py:Task                                       | SystemExit: 3
train ./plain.py:Nothing                                    | has no attribute 'Nothing'
train ./plain.py:Plain                                      | not a class derived from rl.tasks.base.Task
train nopackage.nomodule:Name                               | No module named 'nopackage'
tasks ./plain.py:Plain                                      | not a class derived from rl.tasks.base.Task
demos recrd                                                 | Did you mean record?
float ft                                                    | Did you mean fit?
bench bread                                                 | use one of env, float, agent, grounding
train usb_insertion --method agp                            | Did you mean agps?
train usb_insertion --method drq+robot                      | Unknown helper 'robot'; known: agent, human, nobody
train usb_insertion --method agps --algorithm conrft        | name the method, or the other two
train usb_insertion --algorithm sac                         | Unknown algorithm 'sac'; known: conrft, drq
train usb_insertion --algorithm drq --offline               | drq does not learn from demonstrations alone
train usb_insertion --helper bob                            | Unknown helper 'bob'
train usb_insertion --reward truht                          | Did you mean truth?
train usb_insertion --reward ./plain.py:Plain               | is no reward: derive a class from
train usb_insertion --reward keys                           | a simulation has no operator; use truth or classifier
train usb_insertion --detectors flot                        | Did you mean float?
train usb_insertion --detectors                             | --detectors: name at least one
train usb_insertion --detectors float float                 | name each detector once
train usb_insertion --encoder vgg                           | Unknown encoder 'vgg'; known: dinov2,
train usb_insertion --preset fast                           | no preset 'fast'; choose from tuned, hil-serl
train usb_insertion --robot panda                           | There is no robot 'panda'
train usb_insertion --agent.tools hammer                    | Unknown tool 'hammer'
train usb_insertion --agent.camera nose                     | no camera 'nose' for the agent; it has side
train usb_insertion --agent.prompt-versions perceive 99     | Prompt perceive has no version 99
prompts show nothing                                        | There is no prompt 'nothing'
prompts show usb_insertion --version 3                      | is of a prompt; a task's words have one, leave it out
prompts replay asked --prompt perceive@v1 perceive@v1       | --prompt names perceive@v1 2 times; name each once
prompts replay asked --prompt                               | --prompt names nothing; name at least one, or leave it
serve-model --faults typhoon                                | invalid choice 'typhoon' for argument '--faults'
# options and values
train usb_insertion --methd serl                            | Did you mean --method?
train usb_insertion --drq.gama 0.9                          | Did you mean --algorithm-options.gamma?
train usb_insertion --conrft.gamma 0.9                      | this run learns with drq
train usb_insertion --task-options.clearance 1              | has no such option; it has horizon
train usb_insertion --task-options.port-position 1 2        | is '1', '2'; give FLOAT FLOAT FLOAT
train usb_insertion --task-options.clearance-mm -1          | Input should be greater than 0, got -1.0
train usb_insertion --task-options.port-jitter-mm 101       | Input should be less than or equal to 100, got 101.0
train usb_insertion --run-dir ""                            | --run-dir is empty; give it a value, or leave it out
train usb_insertion --run-dir=                              | --run-dir is empty
train usb_insertion --memory ""                             | --memory is empty
keypoints mark usb_insertion --out ""                       | --out is empty
eval no_checkpoint --checkpoint ""                          | --checkpoint is empty
train usb_insertion --config x.toml                         | Did you mean --confirm?
train usb_insertion --seed 1e3                              | --seed is '1e3'; give a whole number
train usb_insertion --max-env-steps 1,000                   | --max-env-steps is '1,000'; give a whole number
train usb_insertion --method serl --agent-demos 3           | record its demonstrations with `agps demos record --by
train usb_insertion --agent-demos 0 --pretrain-steps 20 --demos 0 | --pretrain-steps is for runs with demonstrations
train usb_insertion --eval-every 0 --final-policy best      | --final-policy is for runs that are evaluated on the way
train usb_insertion --eval-every 0 --curve-episodes 5       | --curve-episodes is for runs that are evaluated on the
train usb_insertion --no-stop-when-solved --solved-episodes 3 | --solved-episodes is for runs that end when they are
train usb_insertion --memory no_checkpoint                  | is a run; its memory is in
eval no_checkpoint --experiment fig4a --seed 7              | --seed and --experiment fig4a both say what is measured
train usb_insertion --agent-demos 0 --demo-noise 0.2        | --demo-noise is for the agent's demonstrations, and thi
train usb_insertion --method serl --vlm reference           | --vlm is for runs that the agent helps, and with --me
train usb_insertion --method serl --vlm=embedded            | nobody helps; take --method agps, or leave it out
train usb_insertion --method hil-serl --float.alpha 0.1     | --float.alpha is for runs that the agent helps
train usb_insertion --method conrft --memory somewhere      | take --method agps-conrft, or leave it out
train usb_insertion --human.notice 1                        | the agent helps; take --method hil-serl, or leave it o
train usb_insertion --speed 0.5                             | --speed is for a run on a robot, and this one is simu
train usb_insertion --no-confirm                            | this one is simulated; add --robot station, or leave
train usb_insertion --reward-model model.pt                 | is for --reward classifier, not --reward truth
train usb_insertion --seed                                  | --seed wants a value
train usb_insertion --seed 1.5                              | --seed is '1.5'; give a whole number
train usb_insertion --seed -1                               | --seed: Input should be greater than or equal to 0
train usb_insertion --seed 99999999999                      | less than or equal to 4294967295
train usb_insertion --max-minutes x                         | --max-minutes is 'x'; give a number
train usb_insertion --max-minutes nan                       | --max-minutes: Input should be a finite number
train usb_insertion --max-env-steps 0                       | --max-env-steps: Input should be greater than or equal
train usb_insertion --demos 99999999999                     | --demos: Input should be less than or equal to 10000
train usb_insertion --image-size 100                        | Expected one of ('64', '128', '256')
train usb_insertion --drq.batch-size 0                      | batch_size is 0; ask for at least 1
train usb_insertion --drq.learning-rate nan                 | learning_rate is nan; give a finite number
train usb_insertion --float.alpha 2                         | alpha = 2.0 is not between 0 and 1
train usb_insertion --agent.wall-budget-s 500               | give a patience of at least 500
eval no_checkpoint --episodes 0                             | --episodes is 0; ask for at least 1
eval no_checkpoint --speed nan                              | --speed is nan; give a finite number
reproduce fig4b --seeds two                                 | --seeds is 'two'
reproduce fig4b --cells usb                                 | fig4b has no cell 'usb'; its cells are usb-memory
reproduce nowhere.toml                                      | There is no file nowhere.toml
reproduce --dry-run                                         | Name an experiment
report --experiment fig3                                    | No finished run of fig3 in runs/fig3
report --experiment fig9                                    | There is no experiment 'fig9'
report taken --experiment fig3                              | --experiment fig3 knows its runs; leave taken out
emulate usb_insertion --image-size huge                     | write it as WIDTHxHEIGHT
traces serve --port 99999                                   | --port is 99999; ask for at most 65535
calibrate board --columns 1                                 | ask for at least 3x3
reproduce fig3 --seeds 99999999999                          | --seeds is 99999999999; ask for at most 1000
reproduce fig3 --jobs 99999 --dry-run                       | --jobs is 99999; ask for at most 1024
reproduce fig3 --budget-hours nan                           | --budget-hours is nan; give a finite number
reproduce --jobs 3                                          | Name an experiment
reproduce --ray 10.0.0.1:6379                               | Name an experiment
reproduce fig3 --ray nowhere                                | --ray nowhere: write HOST:PORT, such as 10.0.0.1:6379
reproduce --reported docs/results                           | Name an experiment
reproduce fig3 --cells --dry-run                            | --cells names nothing; name at least one, or leave it
bench env --steps 99999999999                               | --steps is 99999999999; ask for at most 1000000
bench env --image-size 99999                                | --image-size is 99999; ask for at most 1024
bench float --frames 999999                                 | --frames is 999999; ask for at most 10000
bench float --dimensions -3                                 | --dimensions is -3; ask for at least 1
bench agent --questions 999999                              | --questions is 999999; ask for at most 10000
bench grounding --absent -1                                 | --absent is -1; ask for at least 0
bench grounding --scenes 999999999                          | --scenes is 999999999; ask for at most 100000
bench memory --scenes 0                                     | --scenes is 0; ask for at least 1
bench realtime --seconds inf                                | --seconds is inf; give a finite number
bench realtime --agent-s -1                                 | --agent-s is -1.0; ask for at least 0
bench update --device cuda:99                               | cuda:99
reward collect usb_insertion --positive -4                  | --positive is -4; ask for at least 1
reward collect usb_insertion --speed 0.5                    | --speed is for a robot, and this is simulated; add --
reward collect usb_insertion --robot station --speed 7      | --speed is 7.0; ask for at most 1
reward collect usb_insertion --by spacemouse                | needs a robot; in simulation scripted behaviour shows
reward fit usb_insertion --data                             | --data names nothing; name at least one, or leave it o
reward eval usb_insertion --robot-ip 10.0.0.1               | --robot-ip is for a robot, and this is simulated; add
demos record usb_insertion --station other.toml             | --station is for a robot, and this is simulated; add
demos record usb_insertion --robot station --speed nan      | --speed is nan; give a finite number
ask usb_insertion --robot-ip 10.0.0.1                       | --robot-ip is for a robot, and this is simulated; add
ask usb_insertion --vlm-price-in 3                          | --vlm-price-in 3 is for --estimate; add that, or leave
ask usb_insertion --scene asked --seed 3                    | --scene asked is what the agent sees; leave --seed out
# models and servers
train usb_insertion --vlm-model big                         | --vlm-model big is the name of a model at a server
train usb_insertion --vlm-model=big --vlm reference         | and --vlm reference is none; name the server with --vl
train usb_insertion --method serl --guidance.contact-n 3    | --guidance.contact-n is for runs that the agent helps
train usb_insertion --teleop gamepad                        | --teleop is for runs that the human helps
train usb_insertion --method serl --demo-noise 0.1          | --demo-noise is for runs that the agent helps
ask usb_insertion --vlm-model big                           | name the server with --vlm URL, or leave it out
eval --agent-alone usb_insertion --vlm-model big            | name the server with --vlm URL, or leave it out
demos record usb_insertion --by agent --vlm-model big       | name the server with --vlm URL, or leave it out
demos record usb_insertion --demo-noise 0.2                 | --demo-noise is for the agent's demonstrations
demos record usb_insertion --by agent --demo-noise 2        | --demo-noise: Input should be less than or equal to 1
bench agent --vlm-model big                                 | name the server with --vlm URL, or leave it out
bench grounding --vlm-model big                             | name the server with --vlm URL, or leave it out
prompts replay asked --vlm-model big                        | name the server with --vlm URL, or leave it out
prompts replay asked --vlm                                  | --vlm names nothing; name at least one, or leave it ou
prompts replay asked --vlm embedded embedded                | --vlm names embedded 2 times; name each once
train usb_insertion --vlm gpt-4                             | There is no model 'gpt-4'; use embedded
train usb_insertion --vlm localhost:8000                    | There is no model 'localhost:8000'
train usb_insertion --vlm http://                           | is no URL of a server
train usb_insertion --vlm http://[::1/v1                    | is no URL (Invalid IPv6 URL)
train usb_insertion --vlm http://127.0.0.1:99999/v1         | is no URL (Port out of range 0-65535)
train usb_insertion --vlm http://127.0.0.1:9/v1             | No model server answers at http://127.0.0.1:9/v1/models
train usb_insertion --vlm embedded,point-error=3            | has no setting point-error; it has point-error-px
train usb_insertion --memory localhost:8000                 | for a server write http://localhost:8000
train usb_insertion --memory http://127.0.0.1:9             | No Chroma server answers at http://127.0.0.1:9
train usb_insertion --memory file.txt                       | file.txt is a file; name a folder
serve-model --host not.a.host.invalid                       | Cannot listen on not.a.host.invalid:8000
train usb_insertion --vlm ./plain.py:Plain                  | Cannot make the model
# environments of others
train --env Nothing-v0                                      | Environment `Nothing` doesn't exist
train --env CartPole-v1                                     | wants actions in Discrete(2)
train --env ./plain.py:Plain                                | makes a Plain, not a gymnasium.Env
train --env CartPole-v1 --env-arguments {                   | --env-arguments is '{', no JSON object
train --env CartPole-v1 --env-arguments [1]                 | write a JSON object such as
train --env CartPole-v1 --env-options.horizon 0             | horizon is 0; ask for at least 1
train --env CartPole-v1 --vlm reference                     | --vlm is for runs that the agent helps, and with --me
train --env CartPole-v1 --speed 0.5                         | --speed is for AGPS's own tasks, and --env names someb
train --env CartPole-v1 --human.notice 1                    | name a TASK in its place, or leave it out
train usb_insertion --env CartPole-v1                       | are two; leave one of them out
train usb_insertion --robots 2 --keep-at 400                | --keep-at is for one robot
train usb_insertion --keep-at 0                             | --keep-at
reproduce fig5 --cells knot-agps-0                          | its cells are usb-agps-0, usb-hil-serl-0
# tasks and keypoints of one's own
new-task 9lives                                             | use lower-case letters, digits and _, as in ring_on_peg
new-task Ring-On-Peg                                        | 'Ring-On-Peg' cannot name a task
new-task ../escape                                          | '../escape' cannot name a task
new-task class                                              | 'class' is a word of Python
train usb_insertion --demo 5                                | Did you mean --demos?
train usb_insertion --max-steps 5                           | Did you mean --max-env-steps?
report file.txt                                             | file.txt is a file, and no run directory
new-task usb_insertion                                      | There is a task usb_insertion already
new-task empty                                              | empty exists already; choose another name
keypoints marc usb_insertion                                | Did you mean mark?
keypoints mark usb_insertion --images 0                     | --images is 0; ask for at least 1
keypoints mark usb_insertion --images 999999                | --images is 999999; ask for at most 100
keypoints mark usb_insertion --scene asked --seed 3         | --scene asked has its images already; leave --seed out
keypoints mark usb_insertion --scene asked --robot station  | --scene asked has its images already; leave --robot ou
keypoints mark usb_insertion --scene asked --images 2       | --scene asked has its images already; leave --images o
keypoints mark usb_insertion --robot-ip 10.0.0.1            | --robot-ip is for a robot, and this is simulated; add
keypoints mark usb_insertion --from-truth --port 9000       | --port 9000 is for the page, which --at and --from-tr
keypoints mark usb_insertion --scene SCENE --at MARK --at MARK       | --at marks port_left in side twice
keypoints mark usb_insertion --scene SCENE --at port_left=side,nan,2 | is outside of side, 640 x 480 px; mark it inside
keypoints mark usb_insertion --scene SCENE --at port_left=nose,1,2   | there is no camera 'nose'; the scene has side
keypoints mark usb_insertion --scene SCENE --at nose=side,1,2        | usb_insertion has no keypoint 'nose'
keypoints mark knot_hanging --scene SCENE --at hook=side,1,2         | is of task usb_insertion, not knot_hanging
keypoints mark usb_insertion --out file.txt --from-truth    | file.txt is a file; name a folder for the marks
keypoints mark usb_insertion --scene file.txt               | file.txt holds no scene
keypoints mark usb_insertion --at port_left=side,1,2,3      | write NAME=CAMERA,U,V, as in port_left=side
keypoints mark usb_insertion --robot station --from-truth   | --from-truth needs the simulator
keypoints list nowhere                                      | There are no marked keypoints in nowhere
keypoints list usb_insertion                                | There are no marked keypoints in keypoints/usb_insertion
keypoints list marks_no_json                                | The marked keypoints in marks_no_json are damaged
keypoints list marks_list                                   | keypoints.json is no JSON object
keypoints list marks_newer                                  | it is of version 99, this program reads 1
keypoints list marks_deep                                   | nested too deeply to be read; it is damaged
keypoints list marks_task                                   | are damaged (its task is ['x'])
keypoints show marks_bytes                                  | The marked keypoints in marks_bytes are damaged
keypoints show marks_lost                                   | 'calibration' is missing
train usb_insertion --vlm reference,folder=nowhere          | There are no marked keypoints in nowhere
train usb_insertion --vlm reference,turn-deg=abc            | turn-deg is 'abc': input should be a valid number
train usb_insertion --vlm reference,least-alike=2           | least_alike is 2.0; ask for at most 1
bench grounding --scenes 0                                  | --scenes is 0; ask for at least 1
bench grounding usb_insertion --progressed 2                | --progressed is 2.0; ask for at most 1
# stations
train usb_insertion --robot franka --station nowhere.toml   | There is no station file nowhere.toml
train usb_insertion --robot franka --station typo.toml      | has 'workspce', which a station does not have
train usb_insertion --robot franka --station broken.toml    | Cannot read the station file broken.toml
train usb_insertion --robot franka --station bytes.toml     | Cannot read the station file bytes.toml
train usb_insertion --robot franka --station odd.toml       | arm: ip is 3
train usb_insertion --robot franka --station swapped.toml   | lower must be below upper
train usb_insertion --robot franka --station empty          | Cannot read the station file empty
# folders and files
train usb_insertion --run-dir taken                         | add --resume to go on from it
train usb_insertion --run-dir file.txt                      | Run directory file.txt is a file
train usb_insertion --run-dir file.txt/run                  | Not a directory; name another --run-dir
train usb_insertion --run-dir /proc/agps/run                | Cannot work in run directory /proc/agps/run
train usb_insertion --resume                                | name it with --run-dir DIR
train usb_insertion --resume --run-dir nowhere              | There is no run directory nowhere
train usb_insertion --resume --run-dir empty                | empty is not a run directory: it has no config.json
train usb_insertion --resume --run-dir no_checkpoint        | ended before its first checkpoint
train usb_insertion --resume --run-dir no_json              | no_json/config.json is not JSON
train usb_insertion --resume --run-dir taken --seed 3       | the run was started with seed = 0, not 3
train --resume --run-dir checkpoint_no_json                 | manifest.json is not readable
train --resume --run-dir checkpoint_empty                   | is damaged, or of another version
train --resume --run-dir checkpoint_of_knot                 | last is of task knot_hanging, not usb_insertion
eval checkpoint_of_knot                                     | last is of task knot_hanging, not usb_insertion
train knot_hanging --resume --run-dir taken                 | the run was started with task = usb_insertion
train usb_insertion --reward-model model.pt --reward classifier   | model.pt is damaged or no reward classifier
train usb_insertion --reward-model nowhere.pt --reward classifier | There is no reward classifier nowhere.pt
train usb_insertion --demos-dir nowhere                     | There are no demonstrations in nowhere
train usb_insertion --demos-dir file.txt                    | Cannot read file.txt/demos.json
train usb_insertion --demos-dir demos_no_json               | Cannot read demos_no_json/demos.json
train usb_insertion --demos-dir demos_list                  | demos_list/demos.json is not a JSON object
train usb_insertion --demos-dir demos_lost                  | demos_lost has 0 episodes, its demos.json says 3
train usb_insertion --demos-dir demos_of_knot               | are of task 'knot_hanging', not 'usb_insertion'
train usb_insertion --demos-dir demos_larger                | are of image_size 128, not 64
train usb_insertion --demos-dir demos_torn                  | demos_torn/episode_000.npz is damaged
train usb_insertion --demos-dir demos_torn --demos 5        | holds 1 demonstration; ask for 1, or record more
train usb_insertion --demos-dir demos_torn --demos 0        | holds 1 demonstration; ask for 1, or record more
demos list empty                                            | There are no demonstrations in empty
demos list demos_no_json                                    | demos_no_json/demos.json is not JSON
demos list demos_task                                       | demos.json says task is None; record the demonstratio
demos record usb_insertion --n 1 --resume --out demos_of_knot | holds demonstrations of knot_hanging, not of usb
demos record usb_insertion --n 2 --resume --out demos_keys  | There is no 'state' in demos_keys/episode_000.npz
demos show demos_torn                                       | demos_torn/episode_000.npz is damaged
demos export nowhere --out new                              | is neither a folder of demonstrations (demos.json) nor
demos export demos_torn --out new                           | is damaged (it is no whole .npz file); record the demo
demos export no_checkpoint --out new                        | There is no checkpoint in no_checkpoint/checkpoints
demos export demos_torn                                     | Missing from agps demos export: --out PATH
demos import nowhere --task usb_insertion --out new         | There is no folder nowhere; a dataset of the Hugging F
demos import empty --task usb_insertion --out new           | empty is no LeRobotDataset: it has no meta/info.json
demos import dataset_no_json --task usb_insertion --out new | dataset_no_json/meta/info.json is not JSON
demos import dataset_old --task usb_insertion --out new     | is a LeRobotDataset v2.1, and v3.0 is read here
demos import dataset_fps --task usb_insertion --out new     | says fps is 0; it must be more than 0
demos import empty --task usb_insertion --out x --camera a  | --camera is 'a'; write CAMERA=KEY
demos record usb_insertion --out taken                      | taken already exists and is not empty
demos record usb_insertion --by spacemouse                  | --by spacemouse needs a robot
float fit usb_insertion --out empty                         | empty is a folder, where a file is needed; name another
float fit usb_insertion --demos demos_of_knot               | are of task 'knot_hanging'
float eval usb_insertion --file nowhere.npz                 | There is no detector nowhere.npz
float eval usb_insertion --file file.txt                    | file.txt holds no saved FLOAT detector; fit one first
float eval usb_insertion --file demos_torn/episode_000.npz  | holds no saved FLOAT detector
float eval usb_insertion --file array.npy                   | array.npy holds no saved FLOAT detector
reward fit usb_insertion --data empty                       | There are no labelled frames in empty
reward fit usb_insertion --data frames_no_json              | Cannot read frames_no_json/frames.json
reward collect usb_insertion --out file.txt/frames          | file.txt is a file, where a folder is needed; name an
reward collect usb_insertion --out taken                    | taken already exists and is not empty; name another --
reward collect usb_insertion --run nowhere                  | There is no run directory nowhere
reward fit usb_insertion --out empty                        | empty is a folder, where a file is needed; name anothe
reward eval usb_insertion --out file.txt                    | file.txt is a file, where a folder is needed; name an
reward eval usb_insertion --file empty                      | There is no reward classifier empty
reward eval usb_insertion --file model.pt                   | model.pt is damaged or no reward classifier
eval nowhere                                                | There is no run directory nowhere
eval file.txt                                               | file.txt is a file, and no run directory
eval list                                                   | list/config.json holds list, not an object
eval bytes                                                  | bytes/config.json is not JSON
eval somebodys                                              | somebodys/config.json has no `config` object
eval newer                                                  | does not fit this version: colour
eval odd_seed                                               | does not fit this version: seed
eval lost_task                                              | there is no file /nowhere/task.py
eval no_checkpoint                                          | There is no checkpoint in no_checkpoint/checkpoints
eval checkpoint_no_json                                     | manifest.json is not readable
eval checkpoint_empty                                       | is damaged, or of another version
train towel_folding --demos 0 --agent-demos 0               | ask for at least 1, or of the agent's with --agent-demos
eval taken --checkpoint nope                                | There is no checkpoint at taken/checkpoints/nope
ask usb_insertion --scene empty                             | empty holds no scene
ask usb_insertion --scene scene_no_json                     | scene_no_json holds no scene
ask usb_insertion --scene scene_odd                         | scene_odd holds no scene
report                                                      | needs a run directory
report empty                                                | empty is not a run directory
report no_json                                              | no_json/config.json is not JSON
report null                                                 | null/config.json has no `config` object
report odd_demos                                            | demos is 'many', no whole number
report taken odd_demos                                      | demos is 'many', no whole number
report metrics_lack                                         | metrics.jsonl: a line of eval lacks success_rate
report metrics_odd                                          | metrics.jsonl, line 1: env_steps is 'x', no number
report metrics_trace                                        | metrics.jsonl, line 1: float_trace is 3, no list
report metrics_rubbish                                      | metrics.jsonl holds no line of a run; it is damaged
report metrics_folder                                       | Cannot read metrics_folder/metrics.jsonl: Is a direct
report metrics_nan                                          | success_rate is nan, no number from 0 to 1
report metrics_figures                                      | figures: env_steps is None, no number from 0 up
report metrics_traced                                       | float_scores stands without float_trace
report summary_folder                                       | Cannot read summary_folder/summary.json: Is a directo
report summary_ending                                       | ending is 3, no text
report summary_null                                         | env_steps is None, no number from 0 up
report summary_negative                                     | success_rate is -7, no number from 0 to 1
report summary_tokens                                       | agent_prompt_tokens stands without agent_completion_t
report odd_versions                                         | config.json: versions is [1]
report deep                                                 | deep/config.json is not JSON
report no_checkpoint --out page.html                        | that of one is no_checkpoint/report.html
report no_checkpoint --runs empty                           | --runs empty is for --experiment NAME
report taken no_checkpoint --out file.txt/page.html         | file.txt is a file, where a folder is needed
report taken no_checkpoint --out empty                      | Cannot write empty: Is a directory
report summary_no_json                                      | summary_no_json/summary.json is not JSON
report summary_odd                                          | success_rate is 'much', no number
report summary_short                                        | success_rate stands without eval_episodes
report --experiment grid_torn.toml                          | grid_torn.toml is not TOML
report --experiment fig3 --out results_torn                 | results_torn/results.json is not JSON
report --experiment fig3 --out results_list                 | results_list/results.json holds list, not an object
reproduce grid.toml                                         | grid.toml: seeds: Input should be greater than or equa
reproduce grid_bytes.toml                                   | grid_bytes.toml is no text in UTF-8
reproduce fig3 --runs file.txt --dry-run                    | file.txt is a file, where a folder is needed; name an
report taken nowhere                                        | There is no run directory nowhere
view taken                                                  | has no recording.rrd
memory list empty                                           | empty is neither a run directory nor a memory
memory list memory_rubbish                                  | holds no line of a memory; it is damaged. Move it away
memory rebuild memory_rubbish                               | holds no line of a memory; it is damaged. Move it away
memory list memory_lacks --task nonsense                    | remembers nothing of nonsense; the run is of usb_inse
fleet start                                                 | `agps fleet` has no command 'start'; use one of status
fleet status nowhere                                        | There is no fleet in nowhere
fleet status file.txt                                       | There is no fleet in file.txt
fleet status fleet_torn                                     | fleet_torn/fleet/status.json is not JSON
fleet status fleet_odd                                      | says of itself is damaged, or of another version
fleet status fleet_empty                                    | says of itself is damaged, or of another version
fleet status fleet_when                                     | at is 'noon', no time; it is damaged
memory list odd_memory                                      | memory is ['x'], no text
memory list memory_lacks                                    | is damaged, or was written by another version
memory list no_checkpoint --task knot_hanging               | remembers nothing of knot_hanging; the run is of usb_
memory forget no_checkpoint 3                               | holds no record '3'; `agps memory list` names all
memory show nowhere 3                                       | nowhere is neither a run directory nor a memory
prompts replay no_checkpoint                                | There are no recorded questions in no_checkpoint
prompts replay asked --out empty                            | empty is a folder, where a file is needed; name another
prompts replay asked --out nowhere/page.html                | There is no folder nowhere for the page; make it, or n
prompts replay asked_of_what                                | 0001 is damaged (could not convert string to float: 'x
traces report --dir traces_rubbish                          | file is not a database; name another folder
traces report --dir traces_odd                              | traces_odd/traces.db is damaged, or of another versi
eval LONG                                                   | is too long for this disk; choose a shorter one
keypoints list LONG                                         | is too long for this disk; choose a shorter one
new-task LONG                                               | is too long for this disk; choose a shorter one
reward eval usb_insertion --file odd.pt                     | odd.pt is damaged or no reward classifier
traces report --dir file.txt                                | There are no traces in file.txt
"""
"""Command line | words that its one sentence contains."""


def rows() -> list[tuple[str, str]]:
    lines = [line for line in ROWS.splitlines() if line and not line.startswith("#")]
    pairs = [line.rpartition("|") for line in lines]
    stands_for = {"LONG": "l" * 300, "SCENE": "asked/interventions/0001/scene", "MARK": "port_left=side,1,2"}
    for name, spelled in stands_for.items():
        pairs = [(command.replace(name, spelled), bar, words) for command, bar, words in pairs]
    return [(command.strip(), words.strip()) for command, _, words in pairs]


@pytest.fixture(scope="module")
def littered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("littered")
    for name, files in FOLDERS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            path = folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for asked in ("asked", "asked_of_what"):
        save_scene(scene(), folder / asked / "interventions" / "0001" / "scene")
    np.save(folder / "array.npy", np.zeros(3))
    torch.save({"format": 1, "header": 3, "weights": {}, "hash": "x"}, folder / "odd.pt")
    with closing(TraceStore(folder / "traces_odd")):
        pass
    with closing(sqlite3.connect(folder / "traces_odd" / "traces.db")) as traces:
        traces.execute("INSERT INTO runs (id, name, tags) VALUES ('1', 'ask', '{')")
        traces.commit()
    np.savez(folder / "demos_keys" / "episode_000.npz", action=np.zeros(3))
    taken = make_run(folder / "taken", episodes=3)
    shutil.copytree(folder / "checkpoint_empty" / "checkpoints", taken.checkpoints, dirs_exist_ok=True)
    taken.config.write_text(CONFIG)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in paths}


@pytest.mark.parametrize(("command", "words"), rows(), ids=[command for command, _ in rows()])
def test_wrong_command_line_is_one_sentence_and_leaves_nothing(
    command: str, words: str, littered: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(littered)
    before = contents(littered)
    code = main(shlex.split(command))
    out, err = capsys.readouterr()
    assert words in err
    assert (code in (1, 2), out, err.count("\n"), err[:6]) == (True, "", 1, "agps: ")
    assert "Traceback" not in err
    assert contents(littered) == before


def test_there_are_sixty_of_them_and_more() -> None:
    assert len(set(rows())) >= 60
