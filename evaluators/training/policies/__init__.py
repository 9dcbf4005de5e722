"""Augmentation policies, a file each: `slimfront.spaces.policies.Policy` says what one is."""
