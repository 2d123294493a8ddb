"""What a method is: two halves that every caller knows, and what is special about it, declared.

    from fss_jax.methods.contract import Method

    class MeanColor(Method):
        trained = False
        preprocessing: str = "unit"          # a field: a config's `model` sets it
        def condition(self, support_image, support_mask, *, train=False): ...
        def segment(self, task, query_image, *, train=False): ...

    METHOD = MeanColor

Nothing outside fss_jax/methods asks a method for its name: whoever needs to know something about it
reads one of the declarations of `Method`, which are class attributes and no fields, so that they are
not in a config and change no checkpoint.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from fss_jax.data.encoded import Encoded


class Method(nn.Module):
    """One few-shot system. A subclass has its fields, `condition` and `segment`.

    Every method has the field `preprocessing` (a key of imaging.PREPROCESSING), whose mean color
    callers fill borders with. A method that has the fields `dtype` and `axis_name` gets the config's
    compute type and the name of the devices' axis.

    Class attributes, to be set where the default does not hold:
      trained: whether episodes teach it something; otherwise `train.py` refuses it.
      few_shot: whether it has the two halves; a network that only gives others its features has not.
      stands_on: the method of a network whose trained weights it takes; '': none.
      takes_undecided: whether a support's mask may be -1 where nobody decided (clicks, scribbles).
      own_losses: names that `config.loss` may have for this method alone, and its function of each:
        (support_image, support_mask, query_image, query_mask, train=) -> loss.
      order_matters: whether the order of the shots changes the answer.
      any_shots: whether no shape inside depends on the number of shots, so that what is exported takes
        any number.
      tuned: a field whose value is chosen by scores on training classes, such as a regularizer's
        strength; '': none.
      in_parts: whether the features of an image depend on nothing else, and the method has
        features: (image [b, n, h, w, 3]) -> {level: [b, n, ...]}, which float16 holds well enough;
        fit: (support features, mask [b, k, h, w]) -> task;
        answer: (task, query features, image [b, q, h, w, 3]) -> logits [b, q, h, w].
        Callers may keep features, and add supports that are undecided everywhere: they change
        nothing.
      smallest: the side in pixels of what is compared of an image: a smaller object is doubted. 0: not
        told.
      toy: values of fields with which it is small; a backbone adds its own (see `methods.toy_fields`).
      published_parameters: how many parameters each part has at the fields' defaults, as published;
        '' is the whole.

    Functions that a method may have, None in one that has not:
      encoded: (image [b, n, h, w, 3]) -> data.encoded.Encoded, what the frozen backbone makes of
        images, which `condition`, `segment`, `__call__` and own losses then take in their place.
      merge: (tasks, each leaf [b, k, ...] of `condition` with one of K shots alone) -> the task of
        all K together, so that every set of supports can be scored without encoding images again.
      update: (task, image, mask) -> the task with more annotation, such as clicks on a query.
      call_ways: (support_image [b, n, k, h, w, 3], support_mask, query_image) -> [b, q, 1 + n, H, W],
        scores of the background and of n classes at once. The mask is of each image's own class, -1
        on the episode's other classes. Without it a caller asks for one class at a time.
      judge: (task, query features, (h, w)) -> of each query [b, q] 'present', the probability that
        it shows the object, 'expected_iou' of its mask if it does, and 'found', 0 where the mask had
        better be empty. Only with `in_parts`.
      agreement: (task) -> [b, n], the IoU of each support's mask as the others find it, in their
        order, n being as large or larger.
    """

    trained: ClassVar[bool] = True
    few_shot: ClassVar[bool] = True
    stands_on: ClassVar[str] = ""
    takes_undecided: ClassVar[bool] = False
    own_losses: ClassVar[Mapping[str, str]] = {}
    order_matters: ClassVar[bool] = False
    any_shots: ClassVar[bool] = True
    tuned: ClassVar[str] = ""
    in_parts: ClassVar[bool] = False
    smallest: ClassVar[int] = 0
    toy: ClassVar[Mapping[str, Any]] = {}
    published_parameters: ClassVar[Mapping[str, int]] = {}

    encoded: ClassVar[Callable | None] = None
    merge: ClassVar[Callable | None] = None
    update: ClassVar[Callable | None] = None
    call_ways: ClassVar[Callable | None] = None
    judge: ClassVar[Callable | None] = None
    agreement: ClassVar[Callable | None] = None

    @property
    def frozen(self) -> tuple[str, ...]:
        """Modules that get no gradient; () where all learns."""
        return ()

    @property
    def serves_its_shots_only(self) -> bool:
        """Whether it can only be shown as many supports as it was trained with."""
        return False

    @property
    def built_for(self) -> str:
        """The framework whose weights alone fit the backbone, where shapes do not tell; '': any."""
        return ""

    @property
    def normalized_together(self) -> str:
        """Whose statistics normalize an image at test: '' its own or none, 'episode', or 'batch'."""
        statistics = getattr(self, "batch_norm", "")
        return statistics if statistics in ("episode", "batch") else ""

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> Any:
        """What is computed from the support set once: any tree of arrays, episodes first.

        Args:
          support_image: RGB in 0..255.
          support_mask: 1 on the object, 0 elsewhere; -1 undecided, if the method takes that.
        """
        raise NotImplementedError

    def segment(
        self, task: Any, query_image: Float[Array, "b q h w 3"], *, train: bool = False
    ) -> Float[Array, "b q h w"]:
        """Logits of the object at every pixel of query images (RGB in 0..255), positive inside."""
        raise NotImplementedError

    def __call__(
        self,
        support_image: Float[Array, "b k h w 3"] | Encoded,
        support_mask: Float[Array, "b k h w"],
        query_image: Float[Array, "b q height width 3"] | Encoded,
        *,
        train: bool = False,
    ) -> Float[Array, "b q height width"]:
        """`segment` under `condition`."""
        task = self.condition(support_image, support_mask, train=train)
        return self.segment(task, query_image, train=train)
