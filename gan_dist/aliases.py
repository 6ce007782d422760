"""The short names of what is shipped, as strings: nothing is imported."""

from __future__ import annotations

from typing import Literal

Kind = Literal["generator", "discriminator", "network", "objective", "penalty", "augment", "metric", "extractor"]

ALIASES: dict[Kind, dict[str, str]] = {
    "generator": {
        "mlp": "gan_dist.networks.mlp:Generator",
        "dcgan": "gan_dist.networks.dcgan:Generator",
        "r3gan": "gan_dist.networks.r3gan:Generator",
        "sngan": "gan_dist.networks.sngan:Generator",
        "rmc": "gan_dist.networks.rmc:Generator",
        "charcnn": "gan_dist.networks.charcnn:Generator",
        "lstm": "gan_dist.networks.lstm:Generator",
        "stylegan2": "gan_dist.networks.stylegan2:Generator",
        "fastgan": "gan_dist.networks.fastgan:Generator",
        "sagan": "gan_dist.networks.sagan:Generator",
        "biggan": "gan_dist.networks.biggan:Generator",
        "pix2pix": "gan_dist.networks.pix2pix:Generator",
    },
    "discriminator": {
        "mlp": "gan_dist.networks.mlp:Discriminator",
        "dcgan": "gan_dist.networks.dcgan:Discriminator",
        "r3gan": "gan_dist.networks.r3gan:Discriminator",
        "sngan": "gan_dist.networks.sngan:Discriminator",
        "multirep": "gan_dist.networks.multirep:Discriminator",
        "charcnn": "gan_dist.networks.charcnn:Discriminator",
        "textcnn": "gan_dist.networks.textcnn:Discriminator",
        "textlstm": "gan_dist.networks.textlstm:Discriminator",
        "stylegan2": "gan_dist.networks.stylegan2:Discriminator",
        "sagan": "gan_dist.networks.sagan:Discriminator",
        "biggan": "gan_dist.networks.biggan:Discriminator",
        "projected": "gan_dist.networks.projected:Discriminator",
        "pix2pix": "gan_dist.networks.pix2pix:Discriminator",
    },
    "network": {
        "vae": "gan_dist.networks.vae:Encoder",
    },
    "objective": {
        "mle": "gan_dist.objectives.mle:MaximumLikelihood",
        "seqgan": "gan_dist.objectives.seqgan:SeqGan",
        "scratchgan": "gan_dist.objectives.scratchgan:ScratchGan",
        "non_saturating": "gan_dist.objectives.adversarial:NonSaturating",
        "minimax": "gan_dist.objectives.adversarial:Minimax",
        "least_squares": "gan_dist.objectives.adversarial:LeastSquares",
        "hinge": "gan_dist.objectives.adversarial:Hinge",
        "wasserstein": "gan_dist.objectives.wasserstein:Wasserstein",
        "feature_matching": "gan_dist.objectives.feature_matching:FeatureMatching",
        "l1": "gan_dist.objectives.reconstruction:L1",
        "l2": "gan_dist.objectives.reconstruction:L2",
        "vae": "gan_dist.objectives.vae:Vae",
        "perceptual": "gan_dist.objectives.perceptual:Perceptual",
        "auxiliary_classifier": "gan_dist.objectives.auxiliary:AuxiliaryClassifier",
        "relativistic": "gan_dist.objectives.relativistic:Relativistic",
        "relativistic_average": "gan_dist.objectives.relativistic:RelativisticAverage",
    },
    "penalty": {
        "r1": "gan_dist.penalties.r1:R1",
        "r2": "gan_dist.penalties.r2:R2",
        "wgan_gp": "gan_dist.penalties.wgan_gp:WganGp",
        "dragan": "gan_dist.penalties.dragan:Dragan",
        "lecam": "gan_dist.penalties.lecam:LeCam",
        "bcr": "gan_dist.penalties.bcr:Bcr",
        "orthogonal": "gan_dist.penalties.orthogonal:Orthogonal",
        "path_length": "gan_dist.penalties.path_length:PathLength",
    },
    "augment": {
        "ada": "gan_dist.augment.ada:Ada",
        "diffaugment": "gan_dist.augment.diffaugment:DiffAugment",
    },
    "metric": {
        "frechet": "gan_dist.metrics.frechet:Frechet",
        "kid": "gan_dist.metrics.kid:Kid",
        "prdc": "gan_dist.metrics.prdc:Prdc",
        "bleu": "gan_dist.metrics.bleu:Bleu",
        "self_bleu": "gan_dist.metrics.bleu:SelfBleu",
        "repetition": "gan_dist.metrics.repetition:Repetition",
        "nll": "gan_dist.metrics.likelihood:Nll",
        "nll_oracle": "gan_dist.metrics.likelihood:NllOracle",
    },
    "extractor": {
        "random": "gan_dist.metrics.random_network:RandomNetwork",
        "classifier": "gan_dist.metrics.classifier:Classifier",
        "tokens": "gan_dist.metrics.tokens:Tokens",
        "inception": "gan_dist.metrics.inception:Inception",
    },
}
