"""Prints, as JSON, what each fault of BasicSR 1.4.2 looks like without its fix; test_compat runs it."""

from __future__ import annotations

import json
import os
import sys
import threading

import numpy as np
import torch

FAULTS = {}


def fault(function):
    """Records the error of a function, or what it returns."""
    try:
        FAULTS[function.__name__] = function()
    except Exception as error:  # noqa: BLE001
        FAULTS[function.__name__] = f'{type(error).__name__}: {error}'


@fault
def functional_tensor():
    import basicsr  # noqa: F401


for name in [name for name in sys.modules if name.startswith('basicsr') and not name.startswith('basicsr_plugin')]:
    del sys.modules[name]

from basicsr_plugin.compat import alias_functional_tensor  # noqa: E402

alias_functional_tensor()


@fault
def resume():
    import basicsr.train

    os.makedirs('experiments/run/training_states')
    torch.save({'iter': 1}, 'experiments/run/training_states/1.state')
    basicsr.train.load_resume_state({'auto_resume': True, 'name': 'run', 'path': {}})


@fault
def options():
    import yaml
    from basicsr.utils.options import ordered_yaml

    return yaml.load('!!python/object/apply:os.getcwd []', Loader=ordered_yaml()[0])


@fault
def force_yml():
    from basicsr.utils.options import _postprocess_yml_value

    return _postprocess_yml_value('[__import__("os").getcwd()]')


@fault
def sampler():
    from basicsr.data.data_sampler import EnlargedSampler

    return [type(index).__name__ for index in EnlargedSampler([1], 1, 0)]


@fault
def ema():
    from basicsr.models.base_model import BaseModel

    model = BaseModel({'num_gpu': 0, 'is_train': True})
    model.net_g, model.net_g_ema = torch.nn.BatchNorm2d(1), torch.nn.BatchNorm2d(1)
    model.net_g(torch.rand(2, 1, 4, 4) + 5)
    model.model_ema(0)
    return model.net_g_ema.running_mean.item()


@fault
def steps():
    from basicsr.models.base_model import BaseModel

    net = torch.nn.Linear(1, 1)
    optimizer = BaseModel({'num_gpu': 0, 'is_train': True}).get_optimizer('Adam', net.parameters(), 0.1)
    net(torch.tensor([float('nan')])).backward()
    optimizer.step()
    return str(net.weight.item())


@fault
def load_network():
    from basicsr.models.base_model import BaseModel

    torch.save({'params': {}}, 'empty.pth')
    BaseModel({'num_gpu': 0, 'is_train': True}).load_network(torch.nn.Conv2d(1, 1, 1), 'empty.pth')


@fault
def real_esrgan():
    from basicsr.utils import USMSharp

    USMSharp().cuda()


@fault
def distributed():
    from basicsr.utils.dist_util import init_dist

    os.environ.update(RANK='0', WORLD_SIZE='1', MASTER_ADDR='localhost', MASTER_PORT='29511')
    init_dist('pytorch')


@fault
def prefetch():
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    threading.excepthook = lambda _: None
    thread = PrefetchGenerator((1 / 0 for _ in [1]), 1)
    thread.join()
    return 'nothing to take' if thread.queue.empty() else 'something'


@fault
def jpeg():
    from basicsr.data.degradations import random_add_jpg_compression

    random_add_jpg_compression(np.zeros((8, 8, 3), np.float32))


@fault
def filter2d():
    from basicsr.utils.img_process_util import filter2D

    filter2D(torch.zeros(2, 4, 4, 3).permute(0, 3, 1, 2), torch.ones(2, 3, 3))


@fault
def tensor2img():
    from basicsr.utils import tensor2img

    return int(tensor2img([torch.full((3, 2, 2), torch.nan)]).max())


@fault
def saving():
    from basicsr.models.base_model import BaseModel

    model = BaseModel({'num_gpu': 0, 'is_train': True, 'path': {'models': 'missing'}})
    model.save_network(torch.nn.Conv2d(1, 1, 1), 'net_g', 1)
    return 'carried on'


@fault
def archive():
    from basicsr.utils import misc, mkdir_and_rename

    misc.get_time_str = lambda: 'now'
    for _ in range(3):
        mkdir_and_rename('archived')
        open('archived/file', 'w').close()


print(json.dumps(FAULTS))
