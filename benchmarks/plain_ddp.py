"""A DDP GAN loop as one writes it by hand: the networks, batch, losses and optimisers of jobs/dcgan.yaml.

Started by throughput.py under torchrun; prints samples/s of the steady part on rank 0. With `--tuned` it is what a good
engineer makes of it: no broadcast of buffers, Adam in one kernel, and G's step reduces G's gradients alone.
"""

from __future__ import annotations

import sys
import tempfile
import time

import torch
import torch.distributed as dist
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from gan_dist.execution.local import read_rows
from gan_dist.launch.load_job import load_job
from gan_dist.networks.image import dcgan
from gan_dist.runs.storage import Folder

WARM_UP, MEASURED, BATCH = 100, 400, 32


def main() -> None:
    tuned = "--tuned" in sys.argv
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    with tempfile.TemporaryDirectory() as cache:
        (images,) = read_rows(load_job("jobs/dcgan.yaml"), Folder(cache), smoke=False, emit=lambda event: None).blocks
    data = TensorDataset(torch.from_numpy(images))
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(data, shuffle=True, drop_last=True)
    loader = DataLoader(data, batch_size=BATCH, sampler=sampler, drop_last=True)
    generator = DDP(dcgan.Generator(size=16, channels=1, width=32), broadcast_buffers=not tuned)
    discriminator = DDP(dcgan.Discriminator(size=16, channels=1, width=32), broadcast_buffers=not tuned)
    g_step = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=tuned)
    d_step = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=tuned)
    ones, zeros = torch.ones(BATCH), torch.zeros(BATCH)
    done, epoch, began = 0, 0, 0.0
    while done < WARM_UP + MEASURED:
        sampler.set_epoch(epoch)
        epoch += 1
        for (pixels,) in loader:
            if done == WARM_UP:
                began = time.perf_counter()
            if done == WARM_UP + MEASURED:
                break
            real = pixels.float() / 127.5 - 1
            fake = generator(torch.randn(BATCH, 100))
            d_step.zero_grad()
            loss = bce(discriminator(real), ones) + bce(discriminator(fake.detach()), zeros)
            loss.backward()
            d_step.step()
            g_step.zero_grad()
            judge = discriminator.module if tuned else discriminator
            judge.requires_grad_(not tuned)
            bce(judge(fake), ones).backward()
            judge.requires_grad_(True)
            g_step.step()
            done += 1
    if dist.get_rank() == 0:
        print(f"RATE {MEASURED * BATCH * dist.get_world_size() / (time.perf_counter() - began)}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
