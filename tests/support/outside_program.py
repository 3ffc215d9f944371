"""The recipe ``train`` over a family from outside, as a program.

python -m tests.support.outside_program RUNS [--resume] [--acc_batch N] [--kill_after STEPS]
"""

import argparse
import os
import signal

import torch

from legorec.processes import Processes
from legorec.recipes.train import train
from legorec.settings import DataSettings, EmbedSettings, ExpSettings, PolicySettings, Settings
from tests.support.outside_family import DigitSettings, digits


def settings_of(runs, *, resume=False, mode="train_test", load=None, **policy) -> Settings:
    """Three epochs of eight batches; ``policy`` are settings of ``exp.policy``."""
    chosen = PolicySettings(**{"epoch": 3, "lr": 0.05, "batch_size": 8, "save_every": 2} | policy)
    exp = ExpSettings(name="digits", mode=mode, load=load, policy=chosen, metrics=["gauc", "ndcg@5"])
    data = DataSettings(name="rows", store="none", fields={"digits": {}})
    return Settings(data, EmbedSettings(), DigitSettings(), exp, runs=str(runs), resume=resume, device="cpu")


def kill_after(count: int) -> None:
    """Let this process be killed after some optimizer steps."""
    steps, before = [], torch.optim.AdamW.step

    def step(self, *given, **named):
        before(self, *given, **named)
        steps.append(1)
        if len(steps) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.optim.AdamW.step = step


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("runs")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--acc_batch", type=int, default=1)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--kill_after", type=int)
    options = parser.parse_args()
    if options.kill_after:
        kill_after(options.kill_after)
    policy = {"acc_batch": options.acc_batch, "batch_size": options.batch_size}
    with Processes.launched().joined() as processes:
        train(settings_of(options.runs, resume=options.resume, **policy), processes, digits)
