"""What training is rewarded by: the truth, an operator's keys, a classifier of images, or a reward of one's own."""

from rl.rewards.base import REWARDS, Reward, Setting, Verdict, View, make_reward

__all__ = ["REWARDS", "Reward", "Setting", "Verdict", "View", "make_reward"]
