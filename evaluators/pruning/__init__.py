"""Pruning: whole filters and single weights, by criterion, scope and schedule."""

from slimfront.evaluators.pruning.accounting import Account, account
from slimfront.evaluators.pruning.masks import apply_masks, attach_masks, copy_network, finalise, read_masks
from slimfront.evaluators.pruning.methods import CONTROLS, DESCRIPTIONS, LAB_METHODS, PruningError, control, method
from slimfront.evaluators.pruning.phase import PruningPhase, fine_tuning
from slimfront.evaluators.pruning.report import LayerCount, Report
from slimfront.evaluators.pruning.sensitivity import Sensitivity, sensitivity
from slimfront.evaluators.pruning.slimming import SlimmingPenalty
from slimfront.evaluators.pruning.structure import load_pruned
from slimfront.spaces.methods import METHODS

__all__ = [
    "CONTROLS",
    "DESCRIPTIONS",
    "LAB_METHODS",
    "METHODS",
    "Account",
    "LayerCount",
    "PruningError",
    "PruningPhase",
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
    "read_masks",
    "sensitivity",
]
