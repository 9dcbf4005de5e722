"""The samplers that a study can use, a file each: `slimfront.studies.sampling.Sampler` says what one is."""
