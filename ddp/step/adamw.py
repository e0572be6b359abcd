"""AdamW without TorchDynamo; `ddp.distributed.eager` documents when that helps."""

import torch

from ddp.distributed.eager import without_dynamo


class EagerAdamW(torch.optim.AdamW):
    """torch's AdamW without the wrappers that guard its methods against torch.compile."""

    add_param_group = without_dynamo(torch.optim.AdamW.add_param_group)
    state_dict = without_dynamo(torch.optim.AdamW.state_dict)
    load_state_dict = without_dynamo(torch.optim.AdamW.load_state_dict)
    zero_grad = without_dynamo(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(without_dynamo(torch.optim.AdamW.step))
