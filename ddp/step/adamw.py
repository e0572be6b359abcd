"""AdamW without TorchDynamo: see `ddp.distributed.eager`, which says what that is and when it helps."""

import torch

from ddp.distributed.eager import without_dynamo


class EagerAdamW(torch.optim.AdamW):
    """torch's AdamW, each method itself instead of a wrapper that guards it against torch.compile."""

    add_param_group = without_dynamo(torch.optim.AdamW.add_param_group)
    state_dict = without_dynamo(torch.optim.AdamW.state_dict)
    load_state_dict = without_dynamo(torch.optim.AdamW.load_state_dict)
    zero_grad = without_dynamo(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(without_dynamo(torch.optim.AdamW.step))
