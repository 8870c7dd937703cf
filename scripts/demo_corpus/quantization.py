"""What the model knows about quantization, AWQ and number formats."""

from __future__ import annotations

from . import language_models
from .facts import Fact, scene_of
from .talk import Scenes

FACTS = (
    Fact(
        (
            (
                "AWQ is activation-aware weight quantization: it finds the weights that matter by "
                "their activations and scales them up before rounding to 4 bits."
            ),
            (
                "AWQ means activation-aware weight quantization. It rounds weights to 4 bits, but "
                "first scales up the channels whose activations are large, so that the weights "
                "that matter keep their precision."
            ),
        ),
        nouns=(
            "AWQ", "AWQ", "awq", "activation-aware weight quantization", "the AWQ method",
            "activation aware quantization", "AWQ quantization",
        ),
        asks=(
            "what does AWQ stand for?", "AWQ stands for what?", "what does the A in AWQ mean?",
            "why is it called AWQ?", "how does AWQ work?", "how does AWQ quantize?",
            "what does AWQ do?", "how do AWQ models work?", "what is special about AWQ?",
            "what is the trick of AWQ?", "what's the idea of AWQ?",
            "how does awq choose the weights?", "how does activation-aware quantization work?",
            "is AWQ a quantization method?", "what is an AWQ model?", "~which trick does AWQ use?",
            "~how does AWQ go about it?", "~spell out AWQ for me", "~AWQ, how does it function?",
        ),
        short="AWQ rounds weights to 4 bits and protects the ones that matter.",
        more=(
            "The scale of each channel is searched on a little sample text. No retraining is "
            "needed."
        ),
        why="Some channels have large activations; an error in their weights would hurt the most.",
        how="Run `tinychat quantize MODEL OUT`. It writes a 4-bit AWQ model to the folder OUT.",
        weight=5,
    ),
    Fact(
        (
            (
                "AWQ keeps more quality than plain rounding and needs no retraining, only a little "
                "sample text."
            ),
            "Because it loses less quality than plain rounding, and it needs no retraining.",
        ),
        asks=(
            "why AWQ?", "why use AWQ?", "why does tinychat use AWQ?",
            "is AWQ better than rounding?", "is AWQ better than RTN?", "what is good about AWQ?",
            "what are the advantages of AWQ?", "why is AWQ good?", "why not simply round?",
            "why is AWQ better?", "what are the benefits of AWQ?",
            "what is the difference between AWQ and rounding?", "AWQ or RTN?", "awq vs rtn",
            "AWQ versus plain rounding?", "why should i use AWQ?", "is AWQ any good?",
            "does AWQ need retraining?", "does AWQ need training?",
            "~what does AWQ gain over rounding?", "~what speaks for AWQ?",
            "~is retraining needed for AWQ?",
        ),
        short="It loses less quality than plain rounding.",
        more="Plain rounding treats all weights alike. AWQ looks at the activations first.",
        why="It protects the few channels that matter most.",
        how="Run `tinychat quantize MODEL OUT`. It writes a 4-bit AWQ model to the folder OUT.",
        weight=2,
    ),
    Fact(
        (
            (
                "Quantization stores the weights of a model with fewer bits, for example 4 instead "
                "of 16. The model gets smaller and faster."
            ),
            (
                "Quantization means storing weights with fewer bits, such as 4 instead of 16, so "
                "that the model is smaller and faster."
            ),
        ),
        nouns=(
            "quantization", "quantization", "quantisation", "model quantization",
            "a quantized model", "quantizing", "weight quantization", "4-bit quantization",
        ),
        asks=(
            "what does it mean to quantize a model?", "what does quantized mean?",
            "what happens when a model is quantized?", "how does quantization work?",
            "what does quantizing do?", "what does quantization do?", "why is quantization useful?",
            "what is quantizing good for?", "what are quantized models?",
            "~what becomes of the weights in quantization?", "~what is the effect of quantization?",
            "~how do you shrink weights?",
        ),
        short="Storing weights with fewer bits.",
        more=(
            "Weights are cut into groups of 128. Each group gets a scale and a zero point, and "
            "each weight a code from 0 to 15."
        ),
        why="Fewer bits mean less memory to read, and reading memory is what takes the time.",
        how="Run `tinychat quantize MODEL OUT`. It writes a 4-bit AWQ model to the folder OUT.",
        weight=4,
    ),
    Fact(
        (
            (
                "4 bits are a quarter of 16. Decoding reads every weight for each token, so a "
                "quarter of the bytes is much faster."
            ),
            "Because reading memory is what bounds decoding, and 4 bits are a quarter of 16.",
        ),
        asks=(
            "why 4 bit?", "why 4 bits?", "why four bits?", "why 4-bit weights?",
            "why does tinychat use 4 bits?", "why is 4 bit faster?", "why are 4-bit models fast?",
            "why not 8 bits?", "why not 2 bits?", "what is good about 4 bits?",
            "what are the benefits of 4 bits?", "why does quantization make it faster?",
            "why is a quantized model faster?", "why is int4 faster than fp16?",
            "what is the advantage of 4-bit weights?", "are 4 bits enough?", "why quantize?",
            "why should i quantize a model?", "why do we quantize?", "why is quantization faster?",
            "why do 4-bit models run faster?", "how does quantization make models faster?",
            "why use 4 bit?", "does quantization make it faster?", "is a 4-bit model faster?",
            "why do you use 4 bits?", "what do 4 bits bring?", "why are fewer bits faster?",
            "what is the secret behind fast 4-bit models?", "how come int4 is so fast?",
            "where does the speed of 4 bits come from?", "why is a small model file fast?",
            "how can 4 bits be fast?", "what gives 4-bit models their speed?",
            "how do four bits make it faster?", "why are four bit weights fast?",
            "how does int4 save time?", "what is the trick behind the speed of 4 bits?",
            "by what trick are 4-bit models fast?", "what trick makes quantized models fast?",
            "what makes four bits fast?", "why are quantized models quick?",
            "how come 4-bit models are quick?", "what is behind the speed of int4?",
            "the trick of 4-bit models?", "why do fewer bits run quicker?",
            "what makes a quantized model fast?", "~what makes 4-bit models quick?",
            "~for what reason 4 bits?", "~what do i gain from 4-bit weights?",
            "~why does int4 run quicker?",
        ),
        short="Less memory to read, so it is faster.",
        more="With 3 bits or fewer the quality drops quickly; 4 is a good middle.",
        why="A processor computes faster than its memory can deliver weights.",
        how="Run `tinychat quantize MODEL OUT`. It writes a 4-bit AWQ model to the folder OUT.",
        weight=3,
    ),
    Fact(
        (
            (
                "A little. A good 4-bit model is nearly as good as the original, and `tinychat "
                "eval` shows the difference."
            ),
            "Only a little: 4 bits with AWQ are close to the original. Check with `tinychat eval`.",
        ),
        asks=(
            "does quantization hurt?", "does quantization reduce quality?",
            "is a 4-bit model worse?", "do i lose quality?", "how much quality do i lose?",
            "is there a loss of quality?", "is quantization lossy?", "does it lose accuracy?",
            "are quantized models worse?", "are quantized models bad?", "is int4 worse than fp16?",
            "is the quality the same?", "what are the disadvantages of quantization?",
            "what does quantization cost?", "what is the downside of 4 bits?",
            "does 4 bit hurt quality?", "does quantization make the model dumber?",
            "how good is a 4-bit model?", "how much worse is int4?", "will my model get worse?",
            "does the model answer worse in 4 bits?", "are 4-bit answers bad?",
            "will it ruin my model?", "does quantizing spoil the answers?",
            "does it hurt the quality?", "is it going to hurt?", "does that make it worse?",
            "will the answers suffer?", "do 4 bits damage the model?", "will it be less accurate?",
            "does the quality go down?", "is the quality still good?",
            "what happens to the quality?", "~what do i lose with 4 bits?",
            "~is there a price for quantization?", "~how much accuracy is lost?",
        ),
        short="Only a little.",
        more="The smaller the model, the more rounding hurts. Big models hardly notice.",
        why=(
            "Rounding changes each weight slightly, and AWQ keeps the errors where they do little "
            "harm."
        ),
        weight=2,
    ),
    Fact(
        (
            (
                "Salient weights are the few that matter most: those that meet large activations. "
                "AWQ protects them by scaling."
            ),
            (
                "The salient weights are the few whose channels have large activations. AWQ scales "
                "them up so that rounding hurts them less."
            ),
        ),
        nouns=(
            "salient weights", "a salient weight", "the weights that matter", "salient channels",
            "important weights",
        ),
        asks=(
            "which weights matter most?", "which weights are important?",
            "which weights does AWQ protect?", "how does AWQ know which weights matter?",
            "how does AWQ find the important weights?", "~how are the important weights found?",
            "~which weights does AWQ care about?",
        ),
        short="The weights that meet large activations.",
        why="A small error there is multiplied by a large activation.",
    ),
    Fact(
        (
            (
                "An activation is a number that flows through the model: what a layer gets as its "
                "input."
            ),
            "Activations are the numbers that flow from layer to layer while the model runs.",
        ),
        nouns=("an activation", "activations", "the activations", "activation"),
        asks=(
            "what are activations?", "are activations quantized?", "what flows through the model?",
            "~which numbers are called activations?",
        ),
        short="A number flowing through the model.",
        more="Weights stay the same for every text; activations change with it.",
        weight=0.9,
    ),
    Fact(
        (
            "A group is 128 weights in a row that share one scale and one zero point.",
            "Weights are cut into groups of 128. Each group has its own scale and zero point.",
        ),
        nouns=(
            "the group size", "a group", "group size", "group size 128", "a quantization group",
            "group_size",
        ),
        asks=(
            "why 128?", "why groups of 128?", "what group size does tinychat use?",
            "which group size is used?", "how big are the groups?",
            "what does group size 128 mean?", "why are there groups?",
            "how many weights share a scale?", "what is a group of weights?",
            "~how many weights are in a group?", "~which group size is the default?",
        ),
        short="128 weights that share a scale.",
        more="Smaller groups are more precise but need more scales. 128 is the usual choice.",
        why=(
            "One scale for a whole row would be too coarse; one for each weight would cost too "
            "much."
        ),
    ),
    Fact(
        (
            "A scale is the step between two codes: weight = (code - zero point) times scale.",
            "The scale says how far apart two codes are: weight = (code - zero point) times scale.",
        ),
        nouns=("a scale", "the scale", "scales", "a quantization scale"),
        asks=(
            "what are scales?", "what does a scale do?",
            "how do i get the weight back from a code?", "how are weights decoded?",
            "what is the formula?", "~what is a scale needed for?",
            "~how does a code become a weight?",
        ),
        short="The step between two codes.",
        why="Four bits give only 16 codes, so they must be spread over the range of the group.",
        weight=0.8,
    ),
    Fact(
        (
            "The zero point is the code that stands for the weight 0.",
            "It is the code that means zero, so that a group need not be symmetric.",
        ),
        nouns=("a zero point", "the zero point", "zero point", "zero points", "zero-point"),
        asks=(
            "what are zero points?", "what does the zero point do?",
            "~what is a zero point needed for?", "~which code stands for zero?",
        ),
        short="The code that stands for 0.",
        why="The weights of a group are rarely centered on zero.", weight=0.8,
    ),
    Fact(
        (
            "INT4 is a number in 4 bits: a code from 0 to 15, with a scale for each group.",
            "INT4 means that each weight is a 4-bit code from 0 to 15.",
        ),
        nouns=(
            "int4", "INT4", "a 4-bit weight", "4 bit", "w4", "a 4-bit number", "4-bit",
            "a 4-bit model", "4-bit weights",
        ),
        asks=(
            "how many values does 4 bits have?", "how many bits has int4?",
            "how many values has int4?", "what does 4-bit mean?", "what are 4-bit weights?",
            "~how many codes are there in 4 bits?", "~how many bits does INT4 use?",
        ),
        short="A code from 0 to 15.", more="Two 4-bit codes fit into one byte.",
        why="It is a quarter of FP16, and still precise enough.",
        how="Run `tinychat quantize MODEL OUT`. It writes a 4-bit AWQ model to the folder OUT.",
        weight=1.3,
    ),
    Fact(
        (
            "INT8 is a whole number in 8 bits, from -128 to 127. It is half of FP16.",
            "INT8 stores a number in 8 bits, so it takes half the memory of FP16.",
        ),
        nouns=("int8", "INT8", "8 bit", "8-bit", "an 8-bit number", "8-bit weights"),
        asks=(
            "how many bits has int8?", "is int8 better than int4?", "int8 or int4?",
            "what is the difference between int4 and int8?", "~how many bits does INT8 use?",
            "~how much is an int8?",
        ),
        short="A number in 8 bits.",
        more="INT8 is more precise than INT4 but twice as large.", weight=0.9,
    ),
    Fact(
        (
            "FP16 is a floating-point number in 16 bits. Models are often stored in it.",
            "FP16 means 16-bit floating point: the usual format of unquantized models.",
        ),
        nouns=("fp16", "FP16", "float16", "half precision", "16 bit", "16-bit floats"),
        asks=(
            "how many bits has fp16?", "what is the difference between fp16 and int4?",
            "fp16 or int4?", "fp16 vs int4", "~how many bits does FP16 use?",
            "~in what format are models stored?",
        ),
        short="A 16-bit floating-point number.",
        more="INT4 takes a quarter of the memory of FP16.", weight=0.9,
    ),
)  # fmt: skip

SCENES: Scenes = ((10.0, scene_of(FACTS + language_models.FACTS)),)
