"""Pruning: whole filters and single weights, by criterion, scope and schedule."""

from evaluators.pruning.accounting import Account, account
from evaluators.pruning.masks import apply_masks, attach_masks, copy_network, finalise, read_masks
from evaluators.pruning.methods import CONTROLS, DESCRIPTIONS, LAB_METHODS, PruningError, control, method
from evaluators.pruning.report import LayerCount, Report
from evaluators.pruning.schedules import fine_tuning, prune_stage
from evaluators.pruning.sensitivity import Sensitivity, sensitivity
from evaluators.pruning.slimming import SlimmingPenalty
from evaluators.pruning.structure import load_pruned
from spaces.methods import METHODS

__all__ = [
    "CONTROLS",
    "DESCRIPTIONS",
    "LAB_METHODS",
    "METHODS",
    "Account",
    "LayerCount",
    "PruningError",
    "Report",
    "Sensitivity",
    "SlimmingPenalty",
    "account",
    "apply_masks",
    "attach_masks",
    "control",
    "copy_network",
    "finalise",
    "fine_tuning",
    "load_pruned",
    "method",
    "prune_stage",
    "read_masks",
    "sensitivity",
]
