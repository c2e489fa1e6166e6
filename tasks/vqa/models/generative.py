"""Visual question answering by a model that writes its answer, as it is: no training, only a prompt.

BLIP-2 and InstructBLIP (Li et al. 2023, Dai et al. 2023), BLIP's question-answering model, GIT, and the chat models
that transformers knows as image-text-to-text. Prompts, five beams and a length penalty of -1 are those with which the
BLIP-2 paper measured zero-shot VQA (its section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigError, OutOfMemory, ToolError
from tasks.hub import loading
from tasks.vqa.models.prompts import CHAT, FAMILIES, clean_answer, prompt_for

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


def is_generative(model_type: str, architectures: Sequence[str] | None) -> bool:
    """Whether a model with this configuration writes answers to questions about an image."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if model_type == "blip":  # its other models caption, or match an image with a text
        return "BlipForQuestionAnswering" in (architectures or ())
    return model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


class GenerativeVqa:
    """A model and its processor, ready to answer. Made by `from_pretrained`."""

    def __init__(self, network: Any, processor: Any) -> None:
        """`network`: a transformers model in evaluation mode, where it is to run; `processor`: its own."""
        self.network, self.processor = network, processor
        self.model_type: str = network.config.model_type
        self.family = FAMILIES.get(self.model_type, CHAT)
        self.encoder_decoder = bool(network.config.get_text_config().is_encoder_decoder)
        self._prepare_tokenizer()
        if self.model_type in ("blip-2", "instructblip"):
            self._prepare_image_tokens()

    @classmethod
    def from_pretrained(
        cls,
        model: str,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        token: str | None = None,
        trust_remote_code: bool = False,
    ) -> GenerativeVqa:
        """Loads from a folder or the Hub; weights from safetensors only.

        Args:
            device: a GPU if there is one, by default.
            dtype: by default float32 on a CPU, else bfloat16 (Flan-T5 checkpoints overflow in float16).

        Raises:
            ConfigError: the model is of another kind.
            ToolError: it can't be loaded; see `tasks.hub.load_error`.
        """
        import torch
        from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, BlipForQuestionAnswering

        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
        source = {"revision": revision or "main", "token": token, "trust_remote_code": trust_remote_code}
        with loading(model, "--model"):
            config = AutoConfig.from_pretrained(model, **source)
            if not (is_generative(config.model_type, config.architectures) or trust_remote_code):
                raise ConfigError(
                    f"--model {model}: a {config.model_type} model doesn't write answers about an image; "
                    "take an image-text-to-text model such as Salesforce/blip2-opt-2.7b"
                )
            auto = BlipForQuestionAnswering if config.model_type == "blip" else AutoModelForImageTextToText
            processor = AutoProcessor.from_pretrained(model, **source)
            network = auto.from_pretrained(model, config=config, dtype=dtype, use_safetensors=True, **source)
        return cls(network.to(device).eval(), processor)

    def answer(
        self,
        images: Sequence[Image],
        questions: Sequence[str],
        *,
        num_beams: int = 5,
        max_new_tokens: int = 10,
        batch_size: int = 16,
        length_penalty: float = -1.0,
        style: str | None = None,
        template: str | None = None,
        done: Callable[[int], None] | None = None,
    ) -> list[str]:
        """One answer a question, in their order; the same on every run, as nothing is sampled.

        Args:
            images: RGB, one a question. The same object given several times is prepared once a batch.
            max_new_tokens: the longest answer, in tokens of the model.
            batch_size: questions at a time; halved where the GPU's memory doesn't hold them.
            length_penalty: exponent on the length in a beam's score; below 0 favours short answers.
            style, template: see `prompt_for`; by default `plain` for BLIP-2 with a decoder-only model, else `short`.
            done: called after each batch with the number of questions answered in it.

        Raises:
            ConfigError: a template without `{question}`.
            OutOfMemory: not even one question fits.
        """
        if len(images) != len(questions):
            raise ValueError(f"{len(images)} images for {len(questions)} questions")
        if style is None:
            style = "plain" if self.model_type == "blip-2" and not self.encoder_decoder else "short"
        prompts = [prompt_for(self.model_type, self._harmless(q), template, style) for q in questions]
        options: dict[str, Any] = {"num_beams": num_beams, "max_new_tokens": max_new_tokens, "do_sample": False}
        options["min_new_tokens"] = 1  # with a negative length penalty the shortest answer of all would be none
        if num_beams > 1:
            options["length_penalty"] = length_penalty
        answers = [""] * len(prompts)
        for rows in self._batches(prompts, batch_size):
            texts = self._answer_rows([images[row] for row in rows], [prompts[row] for row in rows], options)
            for row, text in zip(rows, texts, strict=True):
                answers[row] = clean_answer(text)
            if done:
                done(len(rows))
        return answers

    def _batches(self, prompts: list[str], size: int) -> Iterator[list[int]]:
        """Rows in their given order, which keeps the questions on one image together."""
        groups: dict[int, list[int]] = {}
        for row, prompt in enumerate(prompts):
            length = len(self.processor.tokenizer(prompt).input_ids) if self.family.equal_lengths else 0
            groups.setdefault(length, []).append(row)
        for group in groups.values():
            yield from (group[start : start + size] for start in range(0, len(group), size))

    def _answer_rows(self, images: list[Image], prompts: list[str], options: dict[str, Any]) -> list[str]:
        import torch

        try:
            return self._generate(images, prompts, options)
        except torch.OutOfMemoryError as error:
            if len(prompts) == 1:
                raise OutOfMemory(
                    "not even one question fits into the GPU's memory; use fewer beams, or take a smaller model"
                ) from error
        torch.cuda.empty_cache()
        half = len(prompts) // 2
        first = self._answer_rows(images[:half], prompts[:half], options)
        return first + self._answer_rows(images[half:], prompts[half:], options)

    def _generate(self, images: list[Image], prompts: list[str], options: dict[str, Any]) -> list[str]:
        import torch

        with torch.inference_mode():
            if self.family.shares_images:
                tokens = self._tokens_after_shared_images(images, prompts, options)
            else:
                encoding = self._encode_together(images, prompts).to(self.network.device, self.network.dtype)
                tokens = self._without_prompt(self.network.generate(**encoding, **options), encoding)
        return self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)

    def _encode_together(self, images: list[Image], prompts: list[str]) -> Any:
        """For models whose text depends on the image's size: a chat turn each, or the processor's own arrangement."""
        if getattr(self.processor, "chat_template", None):
            turns = [
                [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt}]}]
                for image, prompt in zip(images, prompts, strict=True)
            ]
            return self.processor.apply_chat_template(
                turns,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        if self.model_type not in FAMILIES and self._image_token():
            prompts = [f"{self._image_token()}\n{prompt}" for prompt in prompts]
        return self.processor(images=[[i] for i in images], text=prompts, padding=True, return_tensors="pt")

    def _tokens_after_shared_images(self, images: list[Image], prompts: list[str], options: dict[str, Any]) -> Any:
        """The answers' tokens, each image prepared (for BLIP-2 also encoded) once for all its questions."""
        import torch

        unique = {id(image): image for image in images}
        places = {key: place for place, key in enumerate(unique)}
        rows = torch.tensor([places[id(image)] for image in images], device=self.network.device)
        if self.model_type == "git":  # the question stands after [CLS] and isn't closed by [SEP]
            start = [self.processor.tokenizer.cls_token_id]
            ids = [start + self.processor.tokenizer(p, add_special_tokens=False).input_ids for p in prompts]
            encoding = self.processor(images=[*unique.values()], return_tensors="pt")
            encoding["input_ids"] = torch.tensor(ids)
        else:
            encoding = self.processor(images=[*unique.values()], text=prompts, padding=True, return_tensors="pt")
        encoding = encoding.to(self.network.device, self.network.dtype)
        if self.model_type == "blip-2":
            return self._after_shared_features(encoding, rows, options)
        encoding["pixel_values"] = encoding["pixel_values"][rows]
        return self._without_prompt(self.network.generate(**encoding, **options), encoding)

    def _after_shared_features(self, encoding: Any, rows: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """BLIP-2's own `generate`, but for the image encoder, by far its largest part, running once an image."""
        features = self.network.get_image_features(encoding["pixel_values"], return_dict=True).pooler_output
        embeddings = self.network.get_input_embeddings()(encoding["input_ids"])
        places = (encoding["input_ids"] == self.network.config.image_token_id).unsqueeze(-1)
        embeddings = embeddings.masked_scatter(places, features[rows].to(embeddings.dtype))
        mask = encoding["attention_mask"]
        # With embeddings alone as the prompt, what comes back is the answer alone.
        return self.network.language_model.generate(inputs_embeds=embeddings, attention_mask=mask, **options)

    def _without_prompt(self, tokens: torch.Tensor, encoding: Any) -> torch.Tensor:
        """A decoder-only model gives back its prompt first. BLIP and T5 begin with a start token, which isn't text."""
        if self.encoder_decoder or self.model_type == "blip":
            return tokens[:, 1:]
        return tokens[:, encoding["input_ids"].shape[1] :]

    def _prepare_tokenizer(self) -> None:
        """Generation goes on at the right end, so padding goes left; encoders count positions from the left."""
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "right" if self.encoder_decoder or self.model_type == "blip" else "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if getattr(self.processor, "qformer_tokenizer", None):
            self.processor.qformer_tokenizer.padding_side = "right"

    def _prepare_image_tokens(self) -> None:
        """Gives files saved before transformers 4.46 their places for the image, without which it would go unseen."""
        config, token = self.network.config, self._image_token()
        if self.processor.num_query_tokens is None:
            self.processor.num_query_tokens = config.num_query_tokens
        if config.image_token_index is None:
            config.image_token_index = self.processor.tokenizer.convert_tokens_to_ids(token)
        wanted, known = config.image_token_index, self.network.get_input_embeddings().num_embeddings
        if self.processor.tokenizer.convert_tokens_to_ids(token) != wanted or wanted >= known:
            raise ToolError(
                f"--model: its tokenizer and configuration disagree on the token for an image ({token}, {wanted} of "
                f"{known}); take a newer version of the model's files"
            )

    def _image_token(self) -> str:
        token = getattr(self.processor, "image_token", None) or ""
        return getattr(token, "content", token)

    def _harmless(self, question: str) -> str:
        """The question without the token that stands for an image, which would shift the images of a whole batch."""
        return question.replace(self._image_token(), " ") if self._image_token() else question
