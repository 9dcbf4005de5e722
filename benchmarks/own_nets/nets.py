"""Networks that nobody here wrote, at 32x32 pixels: torchvision's, and one in the shape of popular repositories.

torchvision's are made for 224 pixels. Where five halvings would leave nothing of 32, the first is taken back: the stem
steps by one pixel, and nothing else is changed.
"""

import torchvision

from models import *  # noqa: F403


def resnet18(num_classes=10):
    return torchvision.models.resnet18(num_classes=num_classes)


def mobilenet_v2(num_classes=10):
    network = torchvision.models.mobilenet_v2(num_classes=num_classes)
    network.features[0][0].stride = (1, 1)
    return network


def squeezenet1_1(num_classes=10):
    network = torchvision.models.squeezenet1_1(num_classes=num_classes)
    network.features[0].stride = (1, 1)
    return network


def shufflenet_v2_x0_5(num_classes=10):
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=num_classes)
    network.conv1[0].stride = (1, 1)
    return network
