"""How the learning rate falls, a file each: `slimfront.spaces.optimizers.Decay` says what one is."""
